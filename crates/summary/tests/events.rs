//! Event files from the outside: everything that is written is read back, and damaged files do no
//! harm.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::path::Path;

use tapeflow_core::{Result, Shape, Tensor, Variable, function, math};
use tapeflow_data::tfrecord;
use tapeflow_summary::{
    Data, Event, EventReader, Experiment, HParam, Status, Summary, What, create_file_writer,
};
use tapeflow_testing::mutation;

/// Notes the largest block that a thread asks for.
struct Watching;

thread_local! {
    static LARGEST: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: all requests are handed on as they are.
unsafe impl GlobalAlloc for Watching {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LARGEST.set(LARGEST.get().max(layout.size()));
        // SAFETY: the caller keeps `alloc`'s contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps `dealloc`'s contract.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static WATCHING: Watching = Watching;

/// A file with every kind of event, small enough that most mutations hit something.
fn write_all(dir: &Path) -> Result<std::path::PathBuf> {
    let writer = create_file_writer(dir)?;
    writer.scalar("loss", 0.25, 1)?;
    writer.histogram("weights", [1.0f32, 2.0, 3.0], 2)?;
    let pixels: Vec<u8> = (0..2 * 3 * 4 * 3).map(|i| i * 3).collect();
    writer.image("sample", Tensor::from_slice(&pixels, [2, 3, 4, 3])?, 3)?;
    writer.text("words", "a *few*", 4)?;
    let w = Variable::named("w", [1.0f32, 2.0]);
    let f = function(move |x: Tensor| math::multiply(&w, math::exp(x)?));
    writer.graph(f.get_concrete_function(&Tensor::from([1.0f32, 2.0]))?.traced_graph())?;
    let hparams = [("rate", HParam::from(0.5)), ("name", "x".into()), ("flag", true.into())];
    writer.hparams(&hparams)?;
    writer.hparams_config(&Experiment::new().interval("rate", 0.0, 1.0).metric("loss", "Loss"))?;
    writer.session_end(Status::Success)?;
    writer.session_start(5)?;
    writer.write(Summary::scalar("described", 3)?.with_description("words"), 6)?;
    Ok(writer.path().to_path_buf())
}

#[test]
fn every_kind_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = write_all(folder.path()).unwrap();
    let events: Vec<Event> = EventReader::open(path).unwrap().collect::<Result<_>>().unwrap();
    let summary = |index: usize| match &events[index].what {
        What::Summaries(summaries) => &summaries[0],
        other => panic!("{other:?}"),
    };
    let plugins = [1, 2, 3, 4, 6, 7, 8, 10].map(|index| &*summary(index).plugin);
    let hparams = "hparams";
    assert_eq!(
        plugins,
        ["scalars", "histograms", "images", "text", hparams, hparams, hparams, "scalars"]
    );
    assert_eq!([1, 2, 3, 4, 5, 10].map(|index| events[index].step), [1, 2, 3, 4, 0, 6]);
    let Data::Tensor(loss) = &summary(1).data else { panic!("strings") };
    assert_eq!(loss.to_scalar::<f32>().unwrap(), 0.25);
    let Data::Tensor(weights) = &summary(2).data else { panic!("strings") };
    assert_eq!(weights.shape().dims(), [30, 3]);
    let Data::Strings { shape, values } = &summary(3).data else { panic!("numbers") };
    assert_eq!((*shape, values[0].as_slice()), (Shape::from([4]), &b"4"[..]));
    let Data::Strings { values, .. } = &summary(4).data else { panic!("numbers") };
    assert_eq!(values, &[b"a *few*"]);
    assert!(matches!(&events[5].what, What::GraphDef(graph) if graph.len() > 100));
    assert_eq!(summary(6).tag, "_hparams_/session_start_info");
    assert!(matches!(events[9].what, What::SessionStart));
    assert_eq!(summary(10).description, "words");
}

/// Reads all events; the largest block that it took is bounded by the file's size.
fn read(bytes: &[u8]) -> Result<usize> {
    LARGEST.set(0);
    let mut read = 0;
    let mut failed = None;
    for event in EventReader::new(bytes) {
        match event {
            Ok(_) => read += 1,
            Err(error) => failed = Some(error),
        }
    }
    // A vector of summaries has some hundred bytes for each, and twice as many while it grows.
    let most = 200 * bytes.len() + 10_000;
    assert!(LARGEST.get() <= most, "{} bytes for a file of {}", LARGEST.get(), bytes.len());
    failed.map_or(Ok(read), Err)
}

#[test]
fn damaged_files_do_no_harm() {
    let folder = tempfile::tempdir().unwrap();
    let path = write_all(folder.path()).unwrap();
    let valid = std::fs::read(&path).unwrap();
    assert_eq!(read(&valid).unwrap(), 11);
    let mut refused = 0;
    mutation::for_each(&valid, 20_000, |bytes| refused += u32::from(read(bytes).is_err()));
    assert!(refused > 15_000, "only {refused} were refused");
}

#[test]
fn damaged_messages_in_whole_records_do_no_harm() {
    let folder = tempfile::tempdir().unwrap();
    let path = write_all(folder.path()).unwrap();
    let records = tfrecord::TFRecordReader::open(&path).unwrap();
    let records: Vec<Vec<u8>> = records.collect::<Result<_>>().unwrap();
    let mut refused = 0;
    for record in &records {
        mutation::for_each(record, 3000, |bytes| {
            let mut file = Vec::new();
            tfrecord::frame(&records[0], &mut file);
            tfrecord::frame(bytes, &mut file);
            refused += u32::from(read(&file).is_err());
        });
    }
    assert!(refused > 5000, "only {refused} were refused");
}

#[test]
fn other_files_are_no_event_files() {
    let mut records = Vec::new();
    tfrecord::frame(b"", &mut records);
    let error = EventReader::new(&records[..]).next().unwrap().unwrap_err();
    assert!(error.to_string().contains("not an event file"), "{error}");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events");
    std::fs::write(&path, "no records at all").unwrap();
    let error = EventReader::open(&path).unwrap().next().unwrap().unwrap_err();
    assert!(error.is_data() && error.to_string().contains("events"), "{error}");
    std::fs::write(&path, &records).unwrap();
    let error = EventReader::open(&path).unwrap().next().unwrap().unwrap_err();
    assert!(error.to_string().contains("events: not an event file"), "{error}");
}
