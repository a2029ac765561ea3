//! Bearer tokens: made from the system's randomness, kept in files that only their owner reads.

use crate::random_id;
use std::{
    fmt,
    fs::OpenOptions,
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// A secret that its holder shows to be let in. `Debug` never prints it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

/// A token file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file could not be read or made.
    #[error("cannot use the token file `{}`", path.display())]
    Io {
        /// The token's file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Others may read the file.
    #[error("the token file `{}` has mode {mode:o}: others can read it; run `chmod 600` on it", path.display())]
    Exposed {
        /// The token's file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file holds no token.
    #[error("the token file `{}` holds no token: delete it and start again", path.display())]
    Empty {
        /// The token's file.
        path: PathBuf,
    },
}

impl Token {
    /// A new token of 256 random bits.
    pub fn random() -> Self {
        Self(random_id() + &random_id())
    }

    /// Takes a token that was handed over; an empty one lets nobody in.
    pub fn from_text(text: &str) -> Self {
        Self(text.trim().to_owned())
    }

    /// The secret itself, for a request's header.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether `shown` is this token, in a time that does not tell how much of it was right.
    pub fn admits(&self, shown: &str) -> bool {
        let (own, shown) = (self.0.as_bytes(), shown.as_bytes());
        let difference = own.iter().zip(shown).fold(0, |all, (a, b)| all | (a ^ b));
        !own.is_empty() && own.len() == shown.len() && difference == 0
    }

    /// The token in `path`; made, with mode 0600, if the file is absent.
    ///
    /// # Errors
    /// [`TokenError`] if the file cannot be used or others may read it.
    pub fn load_or_create(path: &Path) -> Result<Self, TokenError> {
        match Self::load(path) {
            Err(TokenError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            other => return other,
        }
        let token = Self::random();
        // A link makes the file appear whole or not at all; a racing process's file stands.
        let draft = path.with_extension(format!("draft-{}", random_id()));
        let created = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&draft)
            .and_then(|mut file| file.write_all(token.0.as_bytes()).and_then(|()| file.sync_all()))
            .and_then(|()| std::fs::hard_link(&draft, path));
        // The draft has served; if it cannot be removed, it is only a stray file.
        let _ = std::fs::remove_file(&draft);
        match created {
            Ok(()) => Ok(token),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Self::load(path),
            Err(source) => Err(TokenError::Io { path: path.to_owned(), source }),
        }
    }

    /// The token in `path`.
    ///
    /// # Errors
    /// [`TokenError`] if the file is absent, cannot be read, or others may read it.
    pub fn load(path: &Path) -> Result<Self, TokenError> {
        let io = |source| TokenError::Io { path: path.to_owned(), source };
        let mut file = OpenOptions::new().read(true).open(path).map_err(io)?;
        let mode = file.metadata().map_err(io)?.mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(TokenError::Exposed { path: path.to_owned(), mode });
        }
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(io)?;
        let token = Self::from_text(&text);
        if token.0.is_empty() {
            return Err(TokenError::Empty { path: path.to_owned() });
        }
        Ok(token)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_token_is_admitted() {
        let token = Token::random();

        assert!(token.admits(token.reveal()));
        assert!(!token.admits(""));
        assert!(!token.admits(&token.reveal()[1..]));
        assert!(!Token::from_text("").admits(""));
        assert_eq!(format!("{token:?}"), "Token(…)");
    }

    #[test]
    fn a_token_file_is_made_once_and_kept_private() {
        let folder = std::env::temp_dir().join(random_id());
        std::fs::create_dir(&folder).unwrap();
        let path = folder.join("token");

        let token = Token::load_or_create(&path).unwrap();

        assert_eq!(Token::load_or_create(&path).unwrap(), token);
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o644))
            .unwrap();
        assert!(matches!(Token::load(&path), Err(TokenError::Exposed { mode: 0o644, .. })));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
