//! Which passwords may be chosen, and what exactly is wrong with one that may not.
//!
//! After NIST SP 800-63B, 5.1.1.2: length counts, composition does not; what everybody tries first is refused. A
//! password is taken as it was typed: it is neither trimmed nor normalised (NFC, NFKC), here or before it is hashed, so
//! that two spellings that look alike are two passwords, and no rule of Unicode's future can lock anybody out.

use std::fmt;
use std::ops::RangeInclusive;

/// Length of a password, in characters (Unicode scalar values).
pub const PASSWORD_CHARS: RangeInclusive<usize> = 8..=128;
/// What is tried first wherever passwords are guessed; in lower case, one a line, without those that another rule
/// refuses.
const COMMON: &str = include_str!("common_passwords.txt");

/// What is wrong with a password. `Display` goes after the word "password".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PasswordProblem {
    /// Its length is not in [`PASSWORD_CHARS`].
    Length,
    /// It is the e-mail address, or the part of it before the `@`.
    IsEmail,
    /// It is one character, again and again.
    OneCharacter,
    /// It is one of those that are tried first.
    Common,
}

impl fmt::Display for PasswordProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Length => "must have 8 to 128 characters",
            Self::IsEmail => "must not be the e-mail address or its first part",
            Self::OneCharacter => "must not be one character repeated",
            Self::Common => "is one of the passwords that are guessed first",
        })
    }
}

/// All that is wrong with `password` for the user with this address, if that is known; nothing where it may be chosen.
/// Upper and lower case count as the same.
pub fn judge_password(password: &str, email: Option<&str>) -> Vec<PasswordProblem> {
    if !PASSWORD_CHARS.contains(&password.chars().count()) {
        // Nothing else is worth saying, and nothing else is done with a long one.
        return vec![PasswordProblem::Length];
    }
    let lower = password.to_lowercase();
    let is_email = email.is_some_and(|email| {
        let email = email.to_lowercase();
        lower == email || email.split_once('@').is_some_and(|(local, _)| lower == local)
    });
    let first = lower.chars().next();
    let one_character = lower.chars().all(|character| Some(character) == first);
    [
        (is_email, PasswordProblem::IsEmail),
        (one_character, PasswordProblem::OneCharacter),
        (COMMON.lines().any(|common| common == lower), PasswordProblem::Common),
    ]
    .into_iter()
    .filter_map(|(wrong, problem)| wrong.then_some(problem))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(password: &str) -> Vec<PasswordProblem> {
        judge_password(password, Some("Ada.Lovelace@example.com"))
    }

    #[test]
    fn length_is_counted_in_characters_as_they_were_typed() {
        for good in ["correct horse", "ünïcödé", "        x", "pässwörter", &"ü7".repeat(64)] {
            let expected = if good.chars().count() < 8 { vec![PasswordProblem::Length] } else { vec![] };
            assert_eq!(judge(good), expected, "{good:?}");
        }
        for bad in ["", "1234567", &"xy".repeat(65), &"x".repeat(100_000)] {
            assert_eq!(judge(bad), [PasswordProblem::Length], "{bad:.20}");
        }
        // Seven characters composed, eight decomposed: taken as typed.
        assert_eq!(judge("caf\u{e9}123"), [PasswordProblem::Length]);
        assert_eq!(judge("cafe\u{301}123"), []);
    }

    #[test]
    fn an_address_is_no_password_for_its_owner() {
        for bad in ["ada.lovelace@example.com", "Ada.Lovelace", "ADA.LOVELACE@EXAMPLE.COM"] {
            assert_eq!(judge(bad), [PasswordProblem::IsEmail], "{bad}");
        }
        assert_eq!(judge("ada.lovelace1"), []);
        assert_eq!(judge_password("ada.lovelace", None), []);
        assert_eq!(judge_password("ada.lovelace", Some("someone@example.com")), []);
    }

    #[test]
    fn every_problem_is_told() {
        assert_eq!(judge("zzzzzzzzz"), [PasswordProblem::OneCharacter]);
        assert_eq!(judge("AaAaAaAa"), [PasswordProblem::OneCharacter]);
        assert_eq!(judge("PassWord1"), [PasswordProblem::Common]);
        let all = judge_password("password1", Some("password1@example.com"));
        assert_eq!(all, [PasswordProblem::IsEmail, PasswordProblem::Common]);
    }

    #[test]
    fn the_list_holds_only_what_could_be_chosen_otherwise() {
        let lines: Vec<&str> = COMMON.lines().collect();
        assert!(lines.len() >= 300, "{}", lines.len());
        for line in &lines {
            assert_eq!(judge(line), [PasswordProblem::Common], "{line:?}");
            assert_eq!(*line, line.to_lowercase().trim());
        }
        assert!(lines.windows(2).all(|pair| pair[0] < pair[1]), "sorted, none twice");
    }
}
