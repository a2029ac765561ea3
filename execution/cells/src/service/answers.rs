//! The answers that a service gave lately, by request id.
//!
//! A retry within this window gets the same bytes and does not reach the guest again. The table is
//! part of the service's state: it is saved, moved and restored with the cell.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, VecDeque};

/// Most answers kept: at 30 requests/s, half a minute of retries.
const COUNT_MAX: usize = 1024;

/// Most bytes kept: they are part of what is sent while a migrating service stands still.
const BYTES_MAX: usize = 1 << 20;

/// Answers by request id, the oldest dropped first.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    by_id: HashMap<String, Bytes>,
    order: VecDeque<String>,
    bytes: usize,
}

/// The table as it is saved, oldest first.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct AnswersImage(Vec<(String, Vec<u8>)>);

impl Answers {
    /// The answer that was given to this request.
    pub(crate) fn get(&self, id: &str) -> Option<&Bytes> {
        self.by_id.get(id)
    }

    /// Keeps an answer. One that is larger than the whole table is not kept.
    pub(crate) fn insert(&mut self, id: &str, answer: Bytes) {
        let size = id.len() + answer.len();
        if size > BYTES_MAX || self.by_id.contains_key(id) {
            return;
        }
        while self.order.len() >= COUNT_MAX || self.bytes + size > BYTES_MAX {
            let Some(oldest) = self.order.pop_front() else { break };
            let dropped = self.by_id.remove(&oldest).map_or(0, |answer| answer.len());
            self.bytes -= oldest.len() + dropped;
        }
        self.bytes += size;
        self.order.push_back(id.to_owned());
        // An answer often borrows a larger buffer: keep its own bytes only.
        self.by_id.insert(id.to_owned(), Bytes::copy_from_slice(&answer));
    }

    pub(crate) fn image(&self) -> AnswersImage {
        let answer = |id: &String| (id.clone(), self.by_id[id].to_vec());
        AnswersImage(self.order.iter().map(answer).collect())
    }

    pub(crate) fn from_image(image: AnswersImage) -> Self {
        let mut answers = Self::default();
        for (id, answer) in image.0 {
            answers.insert(&id, answer.into());
        }
        answers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_answers_go_first_and_nothing_leaks() {
        let mut answers = Answers::default();
        for id in 0..5000 {
            answers.insert(&id.to_string(), vec![0; 300].into());
        }

        assert_eq!(answers.by_id.len(), COUNT_MAX);
        assert_eq!(answers.get("0"), None);
        assert!(answers.get("4999").is_some());
        let real: usize = answers.by_id.iter().map(|(id, answer)| id.len() + answer.len()).sum();
        assert_eq!(answers.bytes, real);

        answers.insert("big", vec![0; BYTES_MAX - 3].into());
        assert_eq!(answers.by_id.len(), 1);
        answers.insert("too big", vec![0; BYTES_MAX].into());
        assert_eq!(answers.get("too big"), None);
        let back = Answers::from_image(answers.image());
        assert_eq!(back.get("big"), answers.get("big"));
    }
}
