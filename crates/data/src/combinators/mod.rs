//! One file for each way to make a dataset, alone or from others.

mod batch;
mod cache;
mod concatenate;
mod enumerate;
mod filter;
mod from_tensor_slices;
mod from_tensors;
mod from_tfrecords;
mod map;
mod map_parallel;
mod prefetch;
mod range;
mod repeat;
mod shuffle;
mod skip;
mod take;
mod unbatch;
mod zip;
