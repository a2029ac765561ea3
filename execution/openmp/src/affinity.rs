//! The text that describes where a thread runs.

use crate::{Result, Thread, shared::lock};

/// What a thread says of itself where the program sets nothing else.
pub(crate) const DEFAULT_FORMAT: &[u8] = b"level %L thread %n of %N runs on %A";

/// Longest format, and longest field.
const FORMAT_BYTES_MAX: u32 = 4096;
const FIELD_BYTES_MAX: usize = 256;

/// Long names of the fields, and their letters.
const NAMES: [(&str, u8); 10] = [
    ("team_num", b't'),
    ("num_teams", b'T'),
    ("nesting_level", b'L'),
    ("thread_num", b'n'),
    ("num_threads", b'N'),
    ("ancestor_tnum", b'a'),
    ("host", b'H'),
    ("process_id", b'P'),
    ("native_thread_id", b'i'),
    ("thread_affinity", b'A'),
];

/// How a field is written.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Style {
    zeros: bool,
    right: bool,
    width: usize,
}

/// A piece of a format.
#[derive(Debug, PartialEq, Eq)]
enum Piece<'a> {
    Text(&'a [u8]),
    Field(u8, Style),
}

/// Takes the first piece off; `None` at the end.
fn piece<'a>(format: &mut &'a [u8]) -> Option<Piece<'a>> {
    if format.first()? != &b'%' {
        let end = format.iter().position(|byte| *byte == b'%').unwrap_or(format.len());
        let (text, rest) = format.split_at(end);
        *format = rest;
        return Some(Piece::Text(text));
    }
    let mut rest = &format[1..];
    let mut style = Style::default();
    let skip = |rest: &mut &'a [u8], letter: u8| {
        let found = rest.first() == Some(&letter);
        *rest = &rest[usize::from(found)..];
        found
    };
    style.zeros = skip(&mut rest, b'0');
    style.right = skip(&mut rest, b'.');
    while let Some(digit @ b'0'..=b'9') = rest.first() {
        style.width = (style.width * 10 + usize::from(digit - b'0')).min(FIELD_BYTES_MAX);
        rest = &rest[1..];
    }
    let (letter, rest) = match rest.split_first() {
        Some((b'{', long)) => {
            let end = long.iter().position(|byte| *byte == b'}').unwrap_or(long.len());
            let name = NAMES.iter().find(|(name, _)| name.as_bytes() == &long[..end]);
            (name.map_or(0, |(_, letter)| *letter), &long[(end + 1).min(long.len())..])
        }
        Some((letter, rest)) => (*letter, rest),
        None => (0, rest),
    };
    *format = rest;
    Some(Piece::Field(letter, style))
}

fn put(text: &mut Vec<u8>, value: &[u8], style: Style, is_number: bool) {
    let missing = style.width.saturating_sub(value.len());
    let (before, after) = if style.right { (missing, 0) } else { (0, missing) };
    let filler = if style.zeros && style.right && is_number { b'0' } else { b' ' };
    text.extend(std::iter::repeat_n(filler, before));
    text.extend(value);
    text.extend(std::iter::repeat_n(b' ', after));
}

impl Thread {
    /// `omp_set_affinity_format`.
    ///
    /// # Errors
    /// If the text does not exist.
    pub fn set_affinity_format(&self, format: u32) -> Result<()> {
        let format = self.text(format)?;
        *lock(&self.shared.affinity_format) = format;
        Ok(())
    }

    /// `omp_get_affinity_format`: its length, whatever fits into the buffer.
    ///
    /// # Errors
    /// If the buffer does not exist.
    pub fn affinity_format(&self, buffer: u32, bytes: u32) -> Result<u32> {
        let format = lock(&self.shared.affinity_format).clone();
        self.put_text(&format, buffer, bytes)
    }

    /// `omp_capture_affinity`: the length of this thread's text, whatever fits into the buffer.
    ///
    /// # Errors
    /// If the format or the buffer does not exist.
    pub fn capture_affinity(&self, buffer: u32, bytes: u32, format: u32) -> Result<u32> {
        let mut chosen = if format == 0 { Vec::new() } else { self.text(format)? };
        if chosen.is_empty() {
            chosen.clone_from(&lock(&self.shared.affinity_format));
        }
        let mut rest = &chosen[..];
        let mut text = Vec::new();
        while let Some(piece) = piece(&mut rest) {
            match piece {
                Piece::Text(plain) => text.extend(plain),
                Piece::Field(b'%', _) => text.push(b'%'),
                Piece::Field(letter, style) => self.field(&mut text, letter, style),
            }
        }
        self.put_text(&text, buffer, bytes)
    }

    fn field(&self, text: &mut Vec<u8>, letter: u8, style: Style) {
        let number = match letter {
            b't' => self.team_num().into(),
            b'T' => self.num_teams().into(),
            b'L' => self.level().into(),
            b'n' => self.thread_num().into(),
            b'N' => self.num_threads().into(),
            b'a' => i64::from(self.ancestor_thread_num(self.level() as i32 - 1)),
            b'P' => 1,
            b'i' => self.global_number().into(),
            b'H' => return put(text, b"cell", style, false),
            b'A' => {
                let all = match self.num_procs() {
                    1 => "0".to_owned(),
                    count => format!("0-{}", count - 1),
                };
                return put(text, all.as_bytes(), style, false);
            }
            _ => return put(text, b"undefined", style, false),
        };
        put(text, number.to_string().as_bytes(), style, true);
    }

    /// The text that ends with a zero there, or its beginning.
    fn text(&self, at: u32) -> Result<Vec<u8>> {
        let mut text = Vec::new();
        for offset in 0..FORMAT_BYTES_MAX {
            match self.memory().u8(at.saturating_add(offset))? {
                0 => break,
                byte => text.push(byte),
            }
        }
        Ok(text)
    }

    fn put_text(&self, text: &[u8], buffer: u32, bytes: u32) -> Result<u32> {
        if buffer != 0 && bytes > 0 {
            let fits = text.len().min(bytes as usize - 1);
            for (byte, at) in text[..fits].iter().chain(&[0]).zip(buffer..) {
                self.memory().put_u8(at, *byte)?;
            }
        }
        Ok(text.len() as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_cut_into_text_and_fields() {
        let mut format = &b"a%n %0.5{num_threads}%%%7H%{no"[..];
        let pieces: Vec<_> = std::iter::from_fn(|| piece(&mut format)).collect();
        let plain = Style::default();
        let expected = [
            Piece::Text(b"a"),
            Piece::Field(b'n', plain),
            Piece::Text(b" "),
            Piece::Field(b'N', Style { zeros: true, right: true, width: 5 }),
            Piece::Field(b'%', plain),
            Piece::Field(b'H', Style { width: 7, ..plain }),
            Piece::Field(0, plain),
        ];
        assert_eq!(pieces, expected);
        let mut cut = &b"%"[..];
        assert_eq!(piece(&mut cut), Some(Piece::Field(0, plain)));
        assert_eq!(piece(&mut cut), None);
    }

    #[test]
    fn fields_are_filled_on_the_side_that_is_asked_for() {
        let written = |style| {
            let mut text = Vec::new();
            put(&mut text, b"7", style, true);
            String::from_utf8(text).unwrap_or_default()
        };
        assert_eq!(written(Style { width: 3, ..Style::default() }), "7  ");
        assert_eq!(written(Style { width: 3, right: true, zeros: false }), "  7");
        assert_eq!(written(Style { width: 3, right: true, zeros: true }), "007");
    }
}
