//! A word now and then on what takes longer than two seconds.

use crate::output::complain;
use std::{
    io::{self, IsTerminal, Write},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    task::JoinHandle,
    time::{Instant, interval},
};

/// What is done faster needs no word.
const SILENCE: Duration = Duration::from_secs(2);

/// Tells on standard error what is waited for; ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Progress {
    text: Arc<Mutex<String>>,
    task: JoinHandle<()>,
    on_terminal: bool,
}

impl Progress {
    pub(crate) fn new(text: &str) -> Self {
        let text = Arc::new(Mutex::new(text.to_owned()));
        let on_terminal = io::stderr().is_terminal();
        let task = tokio::spawn(tell(Arc::clone(&text), on_terminal));
        Self { text, task, on_terminal }
    }

    /// What is waited for now.
    pub(crate) fn set(&self, text: &str) {
        text.clone_into(&mut self.text.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.task.abort();
        if self.on_terminal {
            // Removes the line, if there is one.
            let _ = write!(io::stderr().lock(), "\r\x1b[K");
        }
    }
}

async fn tell(text: Arc<Mutex<String>>, on_terminal: bool) {
    let started = Instant::now();
    let mut told = String::new();
    tokio::time::sleep(SILENCE).await;
    let mut ticks = interval(Duration::from_secs(1));
    loop {
        ticks.tick().await;
        let now = text.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let seconds = started.elapsed().as_secs();
        if on_terminal {
            let _ = write!(io::stderr().lock(), "\r\x1b[K{now} ({seconds} s)");
        } else if now != told {
            complain(&format!("{now} ({seconds} s)"));
            told = now;
        }
    }
}
