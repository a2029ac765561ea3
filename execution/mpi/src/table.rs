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

impl<T> Table<T> {
    /// The first handle, what stands behind each, and the free places in the order of their end.
    pub(crate) fn parts(&self) -> (i32, &[Option<T>], &[usize]) {
        (self.first, &self.items, &self.free)
    }

    /// A table of these parts, if the free places are those without an object.
    pub(crate) fn from_parts(first: i32, items: Vec<Option<T>>, free: Vec<usize>) -> Option<Self> {
        let mut named = vec![false; items.len()];
        for place in &free {
            let named = named.get_mut(*place).filter(|named| !**named)?;
            *named = items[*place].is_none();
            if !*named {
                return None;
            }
        }
        let empty = items.iter().filter(|item| item.is_none()).count();
        (empty == free.len()).then_some(Self { first, items, free })
    }

    /// Whether its handles begin there and it has objects at all of the first `count`.
    pub(crate) fn begins(&self, first: i32, count: usize) -> bool {
        let start = self.items.get(..count);
        self.first == first && start.is_some_and(|start| start.iter().all(Option::is_some))
    }
}
