//! Handles: small integers that name the objects of one rank.

/// Objects by handle. A handle that was freed is given out again.
#[derive(Debug)]
pub(crate) struct Table<T> {
    first: i32,
    items: Vec<Option<T>>,
    free: Vec<usize>,
}

impl<T> Table<T> {
    /// A table whose handles begin at `first`.
    pub(crate) fn new(first: i32) -> Self {
        Self { first, items: Vec::new(), free: Vec::new() }
    }

    /// Adds an object and gives its handle.
    pub(crate) fn add(&mut self, item: T) -> i32 {
        let index = match self.free.pop() {
            Some(index) => {
                self.items[index] = Some(item);
                index
            }
            None => {
                self.items.push(Some(item));
                self.items.len() - 1
            }
        };
        // Memory ends long before two thousand million objects.
        self.first + index as i32
    }

    fn index(&self, handle: i32) -> Option<usize> {
        usize::try_from(i64::from(handle) - i64::from(self.first)).ok()
    }

    pub(crate) fn get(&self, handle: i32) -> Option<&T> {
        self.items.get(self.index(handle)?)?.as_ref()
    }

    pub(crate) fn get_mut(&mut self, handle: i32) -> Option<&mut T> {
        let index = self.index(handle)?;
        self.items.get_mut(index)?.as_mut()
    }

    /// Takes an object out and frees its handle.
    pub(crate) fn remove(&mut self, handle: i32) -> Option<T> {
        let index = self.index(handle)?;
        let item = self.items.get_mut(index)?.take()?;
        self.free.push(index);
        Some(item)
    }

    /// The handles in use, in order.
    pub(crate) fn handles(&self) -> impl Iterator<Item = i32> + '_ {
        let used = self.items.iter().enumerate().filter(|(_, item)| item.is_some());
        used.map(|(index, _)| self.first + index as i32)
    }
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self::new(1)
    }
}
