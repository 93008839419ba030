//! In what form a record is sent on, and in what form next when it is refused. Pure.

use std::borrow::Cow;

use super::verdict::Rejection;
use crate::client::{Error, ErrorCode, ErrorKind};

/// A broker refuses a whole batch for one record in it. Where it does not say for which, it is believed the third time, as what
/// is sent again goes one by one.
const TRIES: u8 = 3;

/// What a dead letter carries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Form {
    /// The record as it was.
    #[default]
    Whole,
    /// The same, but with the time of its failure: topics may refuse old timestamps (`message.timestamp.before.max.ms`).
    Redated,
    /// Key and headers.
    WithoutValue,
    /// Nothing but where the original is, and why it is here.
    Bare,
}

/// A record on its way out: to the output, or as a dead letter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Parcel {
    is_dead_letter: bool,
    form: Form,
    /// Why the output has refused it.
    refused: Option<Box<Rejection>>,
    tries: u8,
}

impl Parcel {
    pub(super) fn into_dead_letter(self) -> Self {
        Self { is_dead_letter: true, ..self }
    }

    pub(super) fn is_dead_letter(&self) -> bool {
        self.is_dead_letter
    }

    pub(super) fn form(&self) -> Form {
        self.form
    }

    pub(super) fn refused(&self) -> Option<&Rejection> {
        self.refused.as_deref()
    }

    /// What to send after this was refused; `Err` with the same if it was not, or if nothing less is left.
    pub(super) fn after(self, error: &Error) -> Result<Self, Self> {
        if matches!(error.kind, ErrorKind::Neighbour { .. }) {
            return Ok(self);
        }
        let is_too_large = error.is_too_large();
        if !is_too_large && !is_refusal(error) {
            return Err(self);
        }
        let is_certain = is_too_large || matches!(error.kind, ErrorKind::Rejected(..));
        if !is_certain && self.tries + 1 < TRIES {
            return Ok(Self { tries: self.tries + 1, ..self });
        }
        if !self.is_dead_letter {
            let reason = if is_too_large { "output.too_large" } else { "output.refused" };
            let refused = Rejection { reason: Cow::Borrowed(reason), message: error.to_string() };
            return Ok(Self { is_dead_letter: true, refused: Some(Box::new(refused)), form: Form::Whole, tries: 0 });
        }
        let form = match self.form {
            Form::Whole if !is_too_large => Form::Redated,
            Form::Whole | Form::Redated => Form::WithoutValue,
            Form::WithoutValue => Form::Bare,
            Form::Bare => return Err(self),
        };
        Ok(Self { form, tries: 0, ..self })
    }
}

/// Whether a broker will never take this record as it is.
fn is_refusal(error: &Error) -> bool {
    matches!(error.code(), Some(ErrorCode::INVALID_TIMESTAMP | ErrorCode::INVALID_RECORD))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The forms that a record goes through, while it is refused with `code`.
    fn check(code: ErrorCode, first: Parcel, want: &[(bool, Form)]) {
        let (mut parcel, error) = (first, Error::from(code));
        let mut went = vec![(parcel.is_dead_letter, parcel.form)];
        while let Ok(next) = parcel.clone().after(&error) {
            if (next.is_dead_letter, next.form) != (parcel.is_dead_letter, parcel.form) {
                went.push((next.is_dead_letter, next.form));
            }
            parcel = next;
        }
        assert_eq!(went, want, "{code}");
    }

    #[test]
    fn a_refused_record_leaves_behind_as_little_as_it_can() {
        let output = (false, Form::Whole);
        let letter = |form| (true, form);
        let by_size = [output, letter(Form::Whole), letter(Form::WithoutValue), letter(Form::Bare)];
        check(ErrorCode::MESSAGE_TOO_LARGE, Parcel::default(), &by_size);
        let by_rule =
            [output, letter(Form::Whole), letter(Form::Redated), letter(Form::WithoutValue), letter(Form::Bare)];
        check(ErrorCode::INVALID_TIMESTAMP, Parcel::default(), &by_rule);
        check(ErrorCode::INVALID_RECORD, Parcel::default().into_dead_letter(), &by_rule[1..]);
    }

    #[test]
    fn an_outage_changes_nothing() {
        for code in
            [ErrorCode::NOT_ENOUGH_REPLICAS, ErrorCode::TOPIC_AUTHORIZATION_FAILED, ErrorCode::REQUEST_TIMED_OUT]
        {
            check(code, Parcel::default(), &[(false, Form::Whole)]);
        }
    }

    #[test]
    fn for_a_neighbour_s_fault_the_same_is_sent_again() {
        let error = Error::new(ErrorKind::Neighbour { index: 3, why: "no key".into() });
        let parcel = Parcel { tries: TRIES - 1, ..Parcel::default() };
        assert_eq!(parcel.clone().after(&error), Ok(parcel));
    }

    #[test]
    fn a_fault_that_may_be_a_neighbour_s_is_not_believed_at_once() {
        let named = ErrorKind::Rejected(ErrorCode::INVALID_RECORD, "no key".into());
        for (error, tries) in [(Error::from(ErrorCode::INVALID_RECORD), TRIES), (Error::new(named), 1)] {
            let mut parcel = Parcel::default();
            for _ in 1..tries {
                parcel = parcel.after(&error).unwrap_or_else(|same| same);
                assert!(!parcel.is_dead_letter(), "{error}");
            }
            parcel = parcel.after(&error).unwrap_or_else(|same| same);
            assert_eq!(parcel.refused().map(|why| why.reason.as_ref()), Some("output.refused"), "{error}");
        }
    }
}
