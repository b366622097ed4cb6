//! Element types.

use std::fmt;
use std::str::FromStr;

use half::{bf16, f16};
use tapeflow_kernels as kernels;

use crate::error::{Error, Result};

/// The type of a tensor's elements, under TensorFlow's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum DType {
    Float16,
    BFloat16,
    Float32,
    Float64,
    Int8,
    Int16,
    Int32,
    Int64,
    UInt8,
    UInt16,
    UInt32,
    UInt64,
    Bool,
}

impl DType {
    /// Every dtype.
    pub const ALL: [DType; 13] = [
        DType::Float16,
        DType::BFloat16,
        DType::Float32,
        DType::Float64,
        DType::Int8,
        DType::Int16,
        DType::Int32,
        DType::Int64,
        DType::UInt8,
        DType::UInt16,
        DType::UInt32,
        DType::UInt64,
        DType::Bool,
    ];

    /// TensorFlow's name, such as `float32`.
    pub const fn name(self) -> &'static str {
        match self {
            DType::Float16 => "float16",
            DType::BFloat16 => "bfloat16",
            DType::Float32 => "float32",
            DType::Float64 => "float64",
            DType::Int8 => "int8",
            DType::Int16 => "int16",
            DType::Int32 => "int32",
            DType::Int64 => "int64",
            DType::UInt8 => "uint8",
            DType::UInt16 => "uint16",
            DType::UInt32 => "uint32",
            DType::UInt64 => "uint64",
            DType::Bool => "bool",
        }
    }

    /// Bytes per element.
    pub const fn size(self) -> usize {
        match self {
            DType::Int8 | DType::UInt8 | DType::Bool => 1,
            DType::Float16 | DType::BFloat16 | DType::Int16 | DType::UInt16 => 2,
            DType::Float32 | DType::Int32 | DType::UInt32 => 4,
            DType::Float64 | DType::Int64 | DType::UInt64 => 8,
        }
    }

    /// One of the four floating-point types, the ones gradients flow through.
    pub const fn is_floating(self) -> bool {
        DTypes::FLOATING.contains(self)
    }

    /// A signed or unsigned integer type; `bool` is not one.
    pub const fn is_integer(self) -> bool {
        DTypes::INTEGER.contains(self)
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for DType {
    type Err = Error;

    /// Reads TensorFlow's name; `half`, `float` and `double` are its aliases.
    fn from_str(name: &str) -> Result<DType> {
        match name {
            "half" => return Ok(DType::Float16),
            "float" => return Ok(DType::Float32),
            "double" => return Ok(DType::Float64),
            _ => {}
        }
        DType::ALL
            .into_iter()
            .find(|dtype| dtype.name() == name)
            .ok_or_else(|| Error::dtype(format!("there is no dtype {name:?}")))
    }
}

/// A set of dtypes: what an op accepts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct DTypes(u16);

impl DTypes {
    /// `float16`, `bfloat16`, `float32`, `float64`.
    pub const FLOATING: DTypes =
        DTypes::of(&[DType::Float16, DType::BFloat16, DType::Float32, DType::Float64]);
    /// `int8` to `int64`.
    pub const SIGNED: DTypes = DTypes::of(&[DType::Int8, DType::Int16, DType::Int32, DType::Int64]);
    /// `uint8` to `uint64`.
    pub const UNSIGNED: DTypes =
        DTypes::of(&[DType::UInt8, DType::UInt16, DType::UInt32, DType::UInt64]);
    /// Signed and unsigned integers.
    pub const INTEGER: DTypes = DTypes::SIGNED.or(DTypes::UNSIGNED);
    /// Everything but `bool`.
    pub const NUMERIC: DTypes = DTypes::FLOATING.or(DTypes::INTEGER);
    /// Everything.
    pub const ANY: DTypes = DTypes::NUMERIC.or(DTypes::of(&[DType::Bool]));

    /// The set of these.
    pub const fn of(dtypes: &[DType]) -> DTypes {
        let mut bits = 0;
        let mut i = 0;
        while i < dtypes.len() {
            bits |= 1 << dtypes[i] as u16;
            i += 1;
        }
        DTypes(bits)
    }

    /// The union of two sets.
    pub const fn or(self, other: DTypes) -> DTypes {
        DTypes(self.0 | other.0)
    }

    /// The set without the members of `other`.
    pub const fn without(self, other: DTypes) -> DTypes {
        DTypes(self.0 & !other.0)
    }

    /// Is `dtype` a member?
    pub const fn contains(self, dtype: DType) -> bool {
        self.0 & (1 << dtype as u16) != 0
    }
}

impl fmt::Display for DTypes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> =
            DType::ALL.iter().filter(|d| self.contains(**d)).map(|d| d.name()).collect();
        f.write_str(&names.join(", "))
    }
}

impl fmt::Debug for DTypes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{self}}}")
    }
}

/// A Rust type that can be a tensor's element.
///
/// `bool` is stored as a byte that is 0 or 1, so a borrowed view of a `bool` tensor is a slice of
/// [`u8`](Element::Stored); every other type is stored as itself.
pub trait Element: Copy + Send + Sync + fmt::Debug + PartialEq + 'static {
    /// The dtype of a tensor of `Self`.
    const DTYPE: DType;
    /// How a buffer holds it.
    type Stored: kernels::Element;

    /// From the Rust value to the stored one.
    fn to_stored(self) -> Self::Stored;
    /// From the stored value to the Rust one.
    fn from_stored(stored: Self::Stored) -> Self;
}

macro_rules! stored_as_itself {
    ($($type:ty => $dtype:ident),* $(,)?) => {$(
        impl Element for $type {
            const DTYPE: DType = DType::$dtype;
            type Stored = $type;

            fn to_stored(self) -> $type {
                self
            }

            fn from_stored(stored: $type) -> $type {
                stored
            }
        }
    )*};
}

stored_as_itself! {
    f16 => Float16, bf16 => BFloat16, f32 => Float32, f64 => Float64,
    i8 => Int8, i16 => Int16, i32 => Int32, i64 => Int64,
    u8 => UInt8, u16 => UInt16, u32 => UInt32, u64 => UInt64,
}

impl Element for bool {
    const DTYPE: DType = DType::Bool;
    type Stored = u8;

    fn to_stored(self) -> u8 {
        u8::from(self)
    }

    fn from_stored(stored: u8) -> bool {
        stored != 0
    }
}

/// Evaluates an expression of type `Result<_>` with `$T` bound to the stored type of a dtype of
/// one family: `half` (the two 16-bit floats), `float`, `product` (what matrix products and
/// convolutions take), `number` (floats and integers), `any` (`bool` as `u8` besides) or `moved` (all
/// too, but one type for each size: enough where values are only moved). A dtype outside the family is
/// an error; `infer` has refused it before it comes here.
macro_rules! dispatch {
    (half, $dtype:expr, $T:ident => $body:expr) => {
        $crate::dtype::dispatch!(@ $dtype, $T => $body,
            Float16: half::f16, BFloat16: half::bf16)
    };
    (float, $dtype:expr, $T:ident => $body:expr) => {
        $crate::dtype::dispatch!(@ $dtype, $T => $body,
            Float16: half::f16, BFloat16: half::bf16, Float32: f32, Float64: f64)
    };
    (number, $dtype:expr, $T:ident => $body:expr) => {
        $crate::dtype::dispatch!(@ $dtype, $T => $body,
            Float16: half::f16, BFloat16: half::bf16, Float32: f32, Float64: f64,
            Int8: i8, Int16: i16, Int32: i32, Int64: i64,
            UInt8: u8, UInt16: u16, UInt32: u32, UInt64: u64)
    };
    (product, $dtype:expr, $T:ident => $body:expr) => {
        $crate::dtype::dispatch!(@ $dtype, $T => $body,
            Float16: half::f16, BFloat16: half::bf16, Float32: f32, Float64: f64,
            Int32: i32, Int64: i64)
    };
    (integer, $dtype:expr, $T:ident => $body:expr) => {
        $crate::dtype::dispatch!(@ $dtype, $T => $body,
            Int8: i8, Int16: i16, Int32: i32, Int64: i64,
            UInt8: u8, UInt16: u16, UInt32: u32, UInt64: u64)
    };
    (any, $dtype:expr, $T:ident => $body:expr) => {
        $crate::dtype::dispatch!(@ $dtype, $T => $body,
            Float16: half::f16, BFloat16: half::bf16, Float32: f32, Float64: f64,
            Int8: i8, Int16: i16, Int32: i32, Int64: i64,
            UInt8: u8, UInt16: u16, UInt32: u32, UInt64: u64, Bool: u8)
    };
    (moved, $dtype:expr, $T:ident => $body:expr) => {
        match $dtype.size() {
            1 => { type $T = u8; $body }
            2 => { type $T = u16; $body }
            // The one that kernels compile for every SIMD level.
            4 => { type $T = f32; $body }
            _ => { type $T = u64; $body }
        }
    };
    (@ $dtype:expr, $T:ident => $body:expr, $($variant:ident: $type:ty),*) => {
        match $dtype {
            $($crate::DType::$variant => { type $T = $type; $body })*
            #[allow(unreachable_patterns)]
            other => Err($crate::Error::unsupported(format!("no kernel for dtype {other}"))),
        }
    };
}
pub(crate) use dispatch;
