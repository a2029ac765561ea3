//! Programs that are saved between regions, and go on from what was saved.

use crate::host::{Functions, Native, Program, config, drive, program, threads};
use openmp::{Config, Error, Result, Runtime, Whole};
use proptest::prelude::*;
use std::sync::Arc;

/// Where each thread of a region writes its number in the program, and the address of its copy of
/// the variable.
const NUMBERS: u32 = 1024;
const COPIES: u32 = 2048;
const VARIABLE: u32 = 512;

/// Functions of a program: one that notes who is there, one whose first thread forks in its turn.
fn functions() -> (Functions, u32, u32) {
    let mut functions = Functions::default();
    let notes = functions.add(|guest, _| {
        let thread = guest.thread.clone();
        let tid = thread.thread_num();
        guest.put(NUMBERS + tid * 4, thread.global_number());
        let copy = thread.threadprivate_cached(guest, VARIABLE, 8)?;
        guest.put(COPIES + tid * 4, copy);
        if thread.global_number() > 0 {
            guest.put(copy, guest.word(copy) + 1 + thread.global_number());
        }
        Ok(0)
    });
    let nothing = functions.add(|_, _| Ok(0));
    let nested = functions.add(move |guest, _| {
        if guest.thread.thread_num() == 0 {
            guest.thread.clone().push_num_threads(3);
            guest.fork(nothing)?;
        }
        Ok(0)
    });
    (functions, notes, nested)
}

fn words(guest: &Native, at: u32) -> Vec<u32> {
    (0..4).map(|index| guest.word(at + index * 4)).collect()
}

/// Has threads made in another order than that of their numbers, and saves.
fn saved(program: &Program, notes: u32, nested: u32) -> (Vec<u8>, Vec<u32>, Vec<u32>) {
    let config = Config { max_active_levels: 2, ..config(4) };
    let runtime = Runtime::new(config, program.memory.clone(), threads(program), Arc::new(Whole));
    let (mut image, mut numbers, mut copies) = (Vec::new(), Vec::new(), Vec::new());
    drive(program.clone(), &runtime, |guest| {
        let thread = guest.thread.clone();
        thread.push_num_threads(2);
        guest.fork(nested)?;
        guest.fork(notes)?;
        (numbers, copies) = (words(guest, NUMBERS), words(guest, COPIES));
        thread.set_num_threads(3);
        thread.set_schedule(2, 5);
        thread.push_num_threads(4);
        guest.put(4096, 4);
        guest.put(4100, 1 << 16);
        assert_eq!(thread.init_allocator(1, 4096)?, 16);
        image = thread.save()?;
        Ok(())
    })
    .unwrap();
    (image, numbers, copies)
}

fn restored(program: &Program, image: &[u8]) -> Result<Runtime> {
    let other = Config::new(1, 7);
    let memory = program.memory.clone();
    Runtime::restored(other, memory, threads(program), Arc::new(Whole), image)
}

#[test]
fn threads_come_back_under_their_numbers_with_what_is_theirs() {
    let (functions, notes, nested) = functions();
    let program = program(functions);
    let (image, numbers, copies) = saved(&program, notes, nested);
    let runtime = restored(&program, &image).unwrap();
    assert_eq!(numbers, [0, 1, 3, 2], "not in the order of the numbers");

    drive(program, &runtime, |guest| {
        let thread = guest.thread.clone();
        assert_eq!(thread.max_threads(), 3);
        assert_eq!(thread.schedule(), (2, 5));
        assert_eq!((thread.num_procs(), thread.thread_limit()), (7, 64));
        assert_eq!(thread.init_allocator(0, 0)?, 17, "the program's own allocator is there");
        guest.put_words(NUMBERS, &[9; 4]);
        guest.fork(notes)?;
        assert_eq!(words(guest, NUMBERS), numbers, "four were asked for before it was saved");
        assert_eq!(words(guest, COPIES), copies);
        for (gtid, copy) in numbers.iter().zip(&copies).skip(1) {
            assert_eq!(guest.word(*copy), 2 * (1 + gtid), "thread {gtid}");
        }
        guest.put_words(NUMBERS, &[9; 4]);
        guest.fork(notes)?;
        assert_eq!(words(guest, NUMBERS), [&numbers[..3], &[9]].concat());
        Ok(())
    })
    .unwrap();
}

#[test]
fn who_was_not_needed_is_saved_again() {
    let (functions, notes, nested) = functions();
    let program = program(functions);
    let (image, ..) = saved(&program, notes, nested);
    let runtime = restored(&program, &image).unwrap();
    let mut again = Vec::new();
    drive(program.clone(), &runtime, |guest| {
        again = guest.thread.clone().save()?;
        Ok(())
    })
    .unwrap();

    assert_eq!(again.len(), image.len());
    let differ = image.iter().zip(&again).filter(|(one, other)| one != other).count();
    assert!(differ <= 8, "only the time has passed");
}

#[test]
fn nothing_is_saved_while_something_is_under_way() {
    let mut functions = Functions::default();
    let region = functions.add(|guest, _| match guest.thread.save() {
        Err(Error::Misuse(_)) if !guest.thread.is_at_rest() => Ok(0),
        other => panic!("{other:?}"),
    });
    let program = program(functions);
    let memory = program.memory.clone();
    let runtime = Runtime::new(config(2), memory, threads(&program), Arc::new(Whole));
    drive(program, &runtime, |guest| {
        let thread = guest.thread.clone();
        assert!(thread.is_at_rest());
        guest.fork(region)?;
        thread.serialized_parallel()?;
        assert!(!thread.is_at_rest());
        thread.end_serialized_parallel(guest)?;
        thread.taskgroup();
        assert!(!thread.is_at_rest());
        thread.end_taskgroup(guest)?;
        let task = guest.make(1, region, 0)?;
        assert!(!thread.is_at_rest(), "the task is not done");
        thread.task(guest, task)?;
        assert!(thread.is_at_rest());
        Ok(())
    })
    .unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn any_image_is_used_or_refused(flips: Vec<(usize, u8)>, cut: usize, whole: bool) {
        let (functions, notes, nested) = functions();
        let program = program(functions);
        let (mut image, ..) = saved(&program, notes, nested);
        let size = image.len();
        for (at, value) in flips {
            image[at % size] = value;
        }
        if !whole {
            image.truncate(cut % size);
            prop_assert!(restored(&program, &image).is_err());
        } else if let Ok(runtime) = restored(&program, &image) {
            // Addresses in it may lead anywhere.
            let _ = drive(program, &runtime, |guest| guest.fork(notes));
        }
    }
}
