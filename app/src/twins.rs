//! Recorded arrays that lie on the GPU as well, so that they are drawn from there.

use sit_engine::backend::gpu::{Gpu, Tensor};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// The twins on the GPU of recorded arrays: the work makes them, the view draws from them. Clones share them.
///
/// A twin belongs to an array, not to a step, so that lanes that branch share what they inherit, and it is freed after the
/// array. An array without one is drawn by the CPU: nothing fails for lack of room.
#[derive(Clone, Debug)]
pub struct Twins {
    gpu: Gpu,
    budget: u64,
    all: Arc<Mutex<All>>,
}

/// By the address of the array, which is nobody else's as long as the weak reference is there.
type All = BTreeMap<usize, (Weak<[f32]>, Tensor)>;

impl Twins {
    /// None yet, and at most `budget` bytes of them.
    pub fn new(gpu: Gpu, budget: u64) -> Self {
        Twins {
            gpu,
            budget,
            all: Arc::default(),
        }
    }

    /// A place for an array of `len` numbers; `None` where there is no room.
    pub fn place(&self, len: usize) -> Option<Tensor> {
        self.sweep();
        let fits = len > 0 && self.bytes() + 4 * len as u64 <= self.budget;
        fits.then(|| self.gpu.tensor(len).ok()).flatten()
    }

    /// From now on `twin`, which holds the same numbers, is the array's.
    pub fn put(&self, array: &Arc<[f32]>, twin: Tensor) {
        let entry = (Arc::downgrade(array), twin);
        self.lock().insert(array.as_ptr().addr(), entry);
    }

    /// Gives an array that the host made a twin.
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

    /// Frees the twins of arrays that are gone.
    pub fn sweep(&self) {
        self.lock().retain(|_, (array, _)| array.strong_count() > 0);
    }

    /// Bytes they take.
    pub fn bytes(&self) -> u64 {
        let all = self.lock();
        all.values().map(|(_, twin)| 4 * twin.len() as u64).sum()
    }

    fn lock(&self) -> MutexGuard<'_, All> {
        // A panic elsewhere leaves whole entries.
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
        // An equal one is not the same.
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
