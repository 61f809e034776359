//! Copies of recorded arrays on the GPU, so that they can be drawn from there.

use sit_engine::backend::gpu::{Gpu, Tensor};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// The twins: copies on the GPU of recorded arrays. Background work makes them, and the view draws from them. Clones share them.
///
/// A twin belongs to an array, not to a step, so that branches share the twins of inherited steps. It is freed after the array. An
/// array without a twin is drawn by the CPU: lack of memory is not an error.
#[derive(Clone, Debug)]
pub struct Twins {
    gpu: Gpu,
    budget: u64,
    all: Arc<Mutex<All>>,
}

/// Keyed by the address of the array, which stays unique while the weak reference exists.
type All = BTreeMap<usize, (Weak<[f32]>, Tensor)>;

impl Twins {
    /// No twins yet; they will take at most `budget` bytes.
    pub fn new(gpu: Gpu, budget: u64) -> Self {
        Twins {
            gpu,
            budget,
            all: Arc::default(),
        }
    }

    /// A buffer for an array of `len` numbers; `None` if there is no room.
    pub fn place(&self, len: usize) -> Option<Tensor> {
        self.sweep();
        let fits = len > 0 && self.bytes() + 4 * len as u64 <= self.budget;
        fits.then(|| self.gpu.tensor(len).ok()).flatten()
    }

    /// Makes `twin`, which holds the same numbers, the twin of the array.
    pub fn put(&self, array: &Arc<[f32]>, twin: Tensor) {
        let entry = (Arc::downgrade(array), twin);
        self.lock().insert(array.as_ptr().addr(), entry);
    }

    /// Makes a twin of an array from host memory.
    pub fn upload(&self, array: &Arc<[f32]>) {
        let twin = self.place(array.len());
        if let Some(twin) = twin.filter(|twin| twin.write(array).is_ok()) {
            self.put(array, twin);
        }
    }

    /// The twin of an array.
    pub fn get(&self, array: &Arc<[f32]>) -> Option<Tensor> {
        let all = self.lock();
        all.get(&array.as_ptr().addr())
            .map(|(_, twin)| twin.clone())
    }

    /// Frees the twins of dropped arrays.
    pub fn sweep(&self) {
        self.lock().retain(|_, (array, _)| array.strong_count() > 0);
    }

    /// Bytes they take.
    pub fn bytes(&self) -> u64 {
        let all = self.lock();
        all.values().map(|(_, twin)| 4 * twin.len() as u64).sum()
    }

    fn lock(&self) -> MutexGuard<'_, All> {
        // A panic elsewhere cannot leave an incomplete entry.
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pollster::block_on;
    use sit_engine::backend::Checks;

    #[test]
    fn a_twin_is_its_array_s_fits_the_budget_and_goes_with_it() {
        let gpu =
            block_on(Gpu::open(true, Checks::Off)).expect("a Vulkan driver: mesa-vulkan-drivers");
        let twins = Twins::new(gpu, 40);
        let [a, b]: [Arc<[f32]>; 2] = [[1.0; 6].into(), [2.0; 5].into()];
        twins.upload(&a);
        // The same array in another lane.
        let twin = twins.get(&Arc::clone(&a)).expect("there was room");
        assert_eq!(block_on(twin.read()).unwrap(), [1.0; 6]);
        // An equal array is not the same array.
        assert!(twins.get(&Arc::from([1.0; 6])).is_none());
        twins.upload(&b);
        assert!(twins.get(&b).is_none(), "44 bytes in 40");
        assert_eq!(twins.bytes(), 24);
        drop(a);
        twins.upload(&b);
        assert!(twins.get(&b).is_some());
        assert_eq!(twins.bytes(), 20);
        drop(b);
        twins.sweep();
        assert_eq!(twins.bytes(), 0);
        assert!(twins.place(0).is_none());
    }
}
