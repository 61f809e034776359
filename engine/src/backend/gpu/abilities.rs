//! What a GPU has beyond the needs of every kernel.

use std::fmt;
use wgpu::{CooperativeScalarType, Features};

/// The largest binding that wgpu gives: some drivers store sizes as signed 32-bit integers.
const MOST_BYTES: u64 = 2 << 30;

/// What a GPU has, as its driver says, for display to users.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Abilities {
    /// Whether kernels may store and compute 16-bit floats.
    pub f16: bool,
    /// The least and the most invocations of a subgroup, which share values without workgroup memory; `None` without subgroups.
    pub subgroup: Option<[u32; 2]>,
    /// The matrix units: rows, columns and inner indices of a product, and the types of its factors and of its sums.
    pub matrices: Vec<String>,
    /// Whether kernels can be timed on the device.
    pub timestamps: bool,
    /// The most bytes that a kernel can bind at once.
    pub binding_bytes: u64,
    /// Bytes of workgroup memory, and invocations of a workgroup.
    pub workgroup: [u32; 2],
}

impl Abilities {
    pub(super) fn of(adapter: &wgpu::Adapter) -> Self {
        let (features, limits, info) = (adapter.features(), adapter.limits(), adapter.get_info());
        let has = |feature| features.contains(feature);
        let binding = limits.max_storage_buffer_binding_size;
        let subgroup = [info.subgroup_min_size, info.subgroup_max_size];
        Abilities {
            f16: has(Features::SHADER_F16),
            subgroup: has(Features::SUBGROUP).then_some(subgroup),
            matrices: match has(Features::EXPERIMENTAL_COOPERATIVE_MATRIX) {
                true => matrices(adapter),
                false => Vec::new(),
            },
            timestamps: has(Features::TIMESTAMP_QUERY),
            binding_bytes: binding.min(limits.max_buffer_size).min(MOST_BYTES),
            workgroup: [
                limits.max_compute_workgroup_storage_size,
                limits.max_compute_invocations_per_workgroup,
            ],
        }
    }
}

fn matrices(adapter: &wgpu::Adapter) -> Vec<String> {
    let name = |scalar| match scalar {
        CooperativeScalarType::F32 => "f32",
        CooperativeScalarType::F16 => "f16",
        CooperativeScalarType::I32 => "i32",
        CooperativeScalarType::U32 => "u32",
    };
    let all = adapter.cooperative_matrix_properties();
    let text = |it: &wgpu::CooperativeMatrixProperties| {
        let (of, to) = (name(it.ab_type), name(it.cr_type));
        format!("{}x{}x{} {of} to {to}", it.m_size, it.n_size, it.k_size)
    };
    let mut all: Vec<String> = all.iter().map(text).collect();
    // Kinds that differ in what is not said here are listed once.
    all.dedup();
    all
}

impl fmt::Display for Abilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [memory, invocations] = self.workgroup;
        write!(
            f,
            "binds {} MiB, workgroups of {invocations} with {} KiB",
            self.binding_bytes >> 20,
            memory >> 10
        )?;
        match self.subgroup {
            Some([least, most]) if least == most => write!(f, ", subgroups of {most}")?,
            Some([least, most]) => write!(f, ", subgroups of {least} to {most}")?,
            None => write!(f, ", no subgroups")?,
        }
        f.write_str(match self.f16 {
            true => ", 16-bit floats",
            false => ", no 16-bit floats",
        })?;
        match self.matrices.is_empty() {
            true => write!(f, ", no matrix units")?,
            false => write!(f, ", matrix units {}", self.matrices.join("; "))?,
        }
        f.write_str(match self.timestamps {
            true => "",
            false => ", no timestamps",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn abilities_are_said_in_a_line() {
        let nothing = Abilities::default();
        assert_eq!(
            nothing.to_string(),
            "binds 0 MiB, workgroups of 0 with 0 KiB, no subgroups, no 16-bit floats, no matrix units, no timestamps"
        );
        let all = Abilities {
            f16: true,
            subgroup: Some([32, 64]),
            matrices: vec!["16x16x16 f16 to f32".into(), "8x8x8 f16 to f32".into()],
            timestamps: true,
            binding_bytes: 2 << 30,
            workgroup: [48 << 10, 1024],
        };
        assert_eq!(
            all.to_string(),
            "binds 2048 MiB, workgroups of 1024 with 48 KiB, subgroups of 32 to 64, 16-bit floats, \
             matrix units 16x16x16 f16 to f32; 8x8x8 f16 to f32"
        );
    }
}
