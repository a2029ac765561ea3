//! Functions of the guest that the host calls by their numbers.
//!
//! A region calls one on every thread, many thousand times a second. So each thread looks a number
//! up once, and calls with types that were checked then: looking at a function's type means to
//! count references that all threads share.

use super::guest::State;
use std::{cell::RefCell, collections::HashMap, rc::Rc};
use wasmtime::{AsContextMut, Func, Ref, Table, TypedFunc, Val, ValType};

/// The functions that one thread has called.
#[derive(Default)]
pub(super) struct Known(RefCell<HashMap<u32, Rc<Called>>>);

/// One of them.
pub(super) struct Called {
    func: Func,
    typed: Typed,
}

macro_rules! by_arity {
    ($($variant:ident $count:literal: $($index:literal $type:ident),*;)*) => {
        /// By its number of parameters, where it takes integers and gives nothing.
        enum Typed {
            $($variant(TypedFunc<($($type,)*), ()>),)*
            /// A task's function.
            Task(TypedFunc<(u32, u32), u32>),
            /// Anything else.
            Other,
        }

        impl Typed {
            fn of(func: &Func, store: impl AsContextMut<Data = State>) -> wasmtime::Result<Self> {
                let ty = func.ty(&store);
                let integers = ty.params().all(|param| matches!(param, ValType::I32));
                if let Ok(task) = func.typed(&store) {
                    return Ok(Self::Task(task));
                }
                if !integers || ty.results().len() > 0 {
                    return Ok(Self::Other);
                }
                Ok(match ty.params().len() {
                    $($count => Self::$variant(func.typed(&store)?),)*
                    _ => Self::Other,
                })
            }

            /// Calls it, if it takes so many arguments.
            fn call(
                &self,
                store: impl AsContextMut<Data = State>,
                args: &[u32],
            ) -> Option<wasmtime::Result<()>> {
                match (self, args) {
                    $((Self::$variant(func), args) if args.len() == $count => {
                        Some(func.call(store, ($(args[$index],)*)))
                    })*
                    _ => None,
                }
            }
        }
    };
}

by_arity! {
    One 1: 0 u32;
    Two 2: 0 u32, 1 u32;
    Three 3: 0 u32, 1 u32, 2 u32;
    Four 4: 0 u32, 1 u32, 2 u32, 3 u32;
    Five 5: 0 u32, 1 u32, 2 u32, 3 u32, 4 u32;
    Six 6: 0 u32, 1 u32, 2 u32, 3 u32, 4 u32, 5 u32;
    Seven 7: 0 u32, 1 u32, 2 u32, 3 u32, 4 u32, 5 u32, 6 u32;
    Eight 8: 0 u32, 1 u32, 2 u32, 3 u32, 4 u32, 5 u32, 6 u32, 7 u32;
    Nine 9: 0 u32, 1 u32, 2 u32, 3 u32, 4 u32, 5 u32, 6 u32, 7 u32, 8 u32;
    Ten 10: 0 u32, 1 u32, 2 u32, 3 u32, 4 u32, 5 u32, 6 u32, 7 u32, 8 u32, 9 u32;
}

impl Known {
    /// The function of this number in the table; `None` if there is none.
    pub(super) fn get(
        &self,
        table: &Table,
        function: u32,
        mut store: impl AsContextMut<Data = State>,
    ) -> wasmtime::Result<Option<Rc<Called>>> {
        if let Some(known) = self.0.borrow().get(&function) {
            return Ok(Some(known.clone()));
        }
        let Some(Ref::Func(Some(func))) = table.get(&mut store, u64::from(function)) else {
            return Ok(None);
        };
        let typed = Typed::of(&func, &mut store)?;
        let called = Rc::new(Called { func, typed });
        self.0.borrow_mut().insert(function, called.clone());
        Ok(Some(called))
    }
}

impl Called {
    /// Calls it; gives its number if it `returns` one.
    pub(super) fn call(
        &self,
        mut store: impl AsContextMut<Data = State>,
        args: &[u32],
        returns: bool,
    ) -> wasmtime::Result<u32> {
        if let (Typed::Task(task), true, &[first, second]) = (&self.typed, returns, args) {
            return task.call(&mut store, (first, second));
        }
        if !returns && let Some(called) = self.typed.call(&mut store, args) {
            return called.map(|()| 0);
        }
        let args: Vec<Val> = args.iter().map(|arg| Val::I32(arg.cast_signed())).collect();
        let mut result = [Val::I32(0)];
        self.func.call(&mut store, &args, &mut result[..usize::from(returns)])?;
        Ok(result[0].i32().unwrap_or(0).cast_unsigned())
    }
}
