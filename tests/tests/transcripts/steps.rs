//! The steps given as parameters, each an array of a verb and its arguments.

use ddp_core::DdpError;
use ddp_core::ejson::Ejson;
use ddp_core::error::ErrorCode;
use ddp_server::Error;

/// One step.
pub(crate) struct Step<'a> {
    pub(crate) verb: &'a str,
    pub(crate) args: &'a [Ejson],
}

impl<'a> Step<'a> {
    pub(crate) fn new(step: &'a Ejson) -> Self {
        match step.as_array() {
            Some([Ejson::String(verb), args @ ..]) => Self { verb, args },
            _ => panic!("what is the step {step}"),
        }
    }

    /// An argument; `null` if it is absent.
    pub(crate) fn arg(&self, index: usize) -> &'a Ejson {
        self.args.get(index).unwrap_or(&Ejson::Null)
    }

    pub(crate) fn text(&self, index: usize) -> &'a str {
        let arg = self.arg(index);
        arg.as_str().unwrap_or_else(|| panic!("{arg} is no text, in {}", self.verb))
    }

    /// The arguments as a `Meteor.Error`: code, reason and details.
    pub(crate) fn error(&self) -> Error {
        let error = match self.arg(0) {
            Ejson::Number(code) => ErrorCode::Number(*code as i32),
            _ => ErrorCode::Text(self.text(0).to_owned()),
        };
        let reason = self.arg(1).as_str().map(str::to_owned);
        let details = self.args.get(2).cloned().map(Ejson::into_json_text);
        DdpError { error, reason, details }.into()
    }

    /// The first argument as the text of an error that clients do not see.
    pub(crate) fn failure(&self) -> Error {
        Error::internal(self.text(0).to_owned())
    }
}
