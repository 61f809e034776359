//! Shapes and element types of tensors. Tensors are contiguous and row-major; there are no strides.

use crate::error::{Error, Result};
use std::fmt;

/// The sizes of a tensor, outermost first: `[B, T, D]`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Shape(Vec<usize>);

impl Shape {
    /// Number of elements; the empty shape is a scalar with one element.
    pub fn numel(&self) -> usize {
        self.0.iter().product()
    }

    /// The same sizes with the innermost one replaced.
    pub(crate) fn with_last(&self, last: usize) -> Shape {
        let mut sizes = self.0.clone();
        if let Some(x) = sizes.last_mut() {
            *x = last;
        }
        Shape(sizes)
    }

    /// The same sizes with the outermost one (the batch) replaced.
    pub(crate) fn with_first(&self, first: usize) -> Shape {
        let mut sizes = self.0.clone();
        if let Some(x) = sizes.first_mut() {
            *x = first;
        }
        Shape(sizes)
    }
}

#[doc(hidden)]
impl Shape {
    /// Size of the innermost axis (1 for a scalar).
    pub fn last(&self) -> usize {
        self.0.last().copied().unwrap_or(1)
    }

    /// Number of rows when all axes but the innermost are flattened into one.
    pub fn rows(&self) -> usize {
        self.0[..self.0.len().saturating_sub(1)].iter().product()
    }
}

impl std::ops::Deref for Shape {
    type Target = [usize];
    fn deref(&self) -> &[usize] {
        &self.0
    }
}

impl<const N: usize> From<[usize; N]> for Shape {
    fn from(sizes: [usize; N]) -> Self {
        Shape(sizes.to_vec())
    }
}

impl From<&[usize]> for Shape {
    fn from(sizes: &[usize]) -> Self {
        Shape(sizes.to_vec())
    }
}

impl From<Vec<usize>> for Shape {
    fn from(sizes: Vec<usize>) -> Self {
        Shape(sizes)
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// Element type of a tensor.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Elem {
    /// 32-bit float (64-bit on the CPU oracle).
    F32,
    /// 32-bit unsigned integer: class labels.
    U32,
}

/// Shape and element type of one value of a graph.
#[doc(hidden)]
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Type {
    /// Sizes, outermost first.
    pub shape: Shape,
    /// Element type.
    pub elem: Elem,
}

impl Type {
    /// A float tensor.
    pub fn f32(shape: impl Into<Shape>) -> Self {
        Type {
            shape: shape.into(),
            elem: Elem::F32,
        }
    }

    /// An unsigned integer tensor.
    pub fn u32(shape: impl Into<Shape>) -> Self {
        Type {
            shape: shape.into(),
            elem: Elem::U32,
        }
    }

    /// Bytes of the tensor on a device (4 per element).
    pub fn bytes(&self) -> u64 {
        self.shape.numel() as u64 * 4
    }
}

impl fmt::Debug for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.elem {
            Elem::F32 => write!(f, "{}", self.shape),
            Elem::U32 => write!(f, "u32{}", self.shape),
        }
    }
}

/// Checks an argument's shape: `adaln: shift is [8, 384], expected [8, 768] because x is [8, 256, 768]`.
///
/// # Errors
/// [`Error::Shape`] when `got` is not a float tensor of the `expected` shape.
#[doc(hidden)]
pub fn expect(
    op: &str,
    arg: &str,
    got: &Type,
    expected: impl Into<Shape>,
    because: impl fmt::Display,
) -> Result<()> {
    let expected = Type::f32(expected);
    if *got == expected {
        return Ok(());
    }
    Err(Error::Shape(format!(
        "{op}: {arg} is {got:?}, expected {expected:?} because {because}"
    )))
}

/// Checks an argument's number of axes.
///
/// # Errors
/// [`Error::Shape`] when `got` has another number of axes than `n_axes`.
pub(crate) fn expect_axes(
    op: &str,
    arg: &str,
    got: &Type,
    n_axes: usize,
    meaning: &str,
) -> Result<()> {
    if got.shape.len() == n_axes {
        return Ok(());
    }
    Err(Error::Shape(format!(
        "{op}: {arg} is {got:?}, expected {n_axes} axes {meaning}"
    )))
}
