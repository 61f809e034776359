//! Weights of 16 bits as f32, right before they are used ([`Storage`]).

use super::Case;
use crate::error::{Error, Result};
use crate::graph::{CpuIo, Define, Io, Launch, Op, Storage, op::Sealed};
use crate::num::Real;
use crate::num::par::{for_rows, rows_mut};
use crate::shape::{Elem, Shape, Type};
use sit_shaders::{WIDEN_BF16, WIDEN_F16, WidenDims};
use std::sync::Arc;

/// Words of a row, which a thread widens.
const ROW: usize = 1 << 12;

/// x `[(N + 1) / 2]` u32 -> y of `shape` with N values
#[derive(Clone, Debug)]
pub(crate) struct Widen {
    /// F16 or Bf16.
    pub storage: Storage,
    pub shape: Shape,
}

impl Widen {
    /// The operation that layouts of 16 bits take.
    pub fn op(storage: Storage, shape: &Shape) -> Arc<dyn Op> {
        let shape = shape.clone();
        Arc::new(Widen { storage, shape })
    }
}

impl Sealed for Widen {}

impl Define for Widen {
    fn name(&self) -> &'static str {
        match self.storage {
            Storage::Bf16 => "widen_bf16",
            _ => "widen_f16",
        }
    }

    fn infer(&self, ins: &[Type]) -> Result<Vec<Type>> {
        let expected = Type {
            shape: Shape::from([self.storage.words(self.shape.numel())]),
            elem: Elem::U32,
        };
        match ins[0] == expected {
            true => Ok(vec![Type::f32(self.shape.clone())]),
            false => Err(Error::Shape(format!(
                "{}: x is {:?}, expected {expected:?} for values {}",
                Define::name(self),
                ins[0],
                self.shape
            ))),
        }
    }

    fn launch(&self, io: &Io) -> Result<Vec<Launch>> {
        let kernel = match self.storage {
            Storage::Bf16 => &WIDEN_BF16,
            _ => &WIDEN_F16,
        };
        let dims = WidenDims { n: io.out_numel(0) };
        let launch = Launch::new(kernel, &dims, kernel.grid_flat(io.numel(0)));
        Ok(vec![launch.input("x", 0).output("y", 0)])
    }

    fn cpu<F: Real>(&self, io: CpuIo<'_, F>) {
        let words = io.ins_u32[0];
        let [y, ..] = io.outs;
        for_rows(rows_mut(y, 2 * ROW), 1, |row, y| {
            let words = &words[row * ROW..];
            for (y, word) in y.chunks_mut(2).zip(words) {
                let pair = self.storage.widen(*word);
                y.iter_mut()
                    .zip(pair)
                    .for_each(|(y, x)| *y = F::of(x.into()));
            }
        });
    }
}

pub(super) fn cases() -> Vec<Case> {
    let case = |storage, shape: &[usize]| {
        let shape = Shape::from(shape);
        let x = Type {
            shape: Shape::from([Storage::words(storage, shape.numel())]),
            elem: Elem::U32,
        };
        Case {
            // The largest finite f16 in the low half.
            n_labels: 0x7c00,
            ..Case::new(Widen { storage, shape }, &[x])
        }
    };
    vec![
        case(Storage::F16, &[5, 7]),
        case(Storage::F16, &[128, 130]),
        case(Storage::Bf16, &[5, 7]),
        case(Storage::Bf16, &[128, 130]),
    ]
}
