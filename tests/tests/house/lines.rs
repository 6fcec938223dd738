//! The lines of a file: code, documentation, functions.

use syn::spanned::Spanned;

/// A function, with its number of lines of code between the braces.
#[derive(Debug)]
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) lines: usize,
}

/// What we need to know about a file's lines.
pub(crate) struct Lines {
    lines: Vec<String>,
    /// Which of them are in tests.
    left_out: Vec<bool>,
    pub(crate) functions: Vec<Function>,
}

impl Lines {
    pub(crate) fn new(text: &str) -> Self {
        let lines: Vec<String> = text.lines().map(|line| line.trim().to_owned()).collect();
        let left_out = vec![false; lines.len()];
        Self { lines, left_out, functions: Vec::new() }
    }

    pub(crate) fn leave_out(&mut self, part: &impl Spanned) {
        let span = part.span();
        self.left_out[span.start().line - 1..span.end().line].fill(true);
    }

    pub(crate) fn function(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let (open, close) = (block.brace_token.span.open(), block.brace_token.span.close());
        let lines = open.start().line..close.start().line.saturating_sub(1);
        let lines = lines.filter(|line| is_code(&self.lines[*line])).count();
        self.functions.push(Function { name: signature.ident.to_string(), lines });
    }

    pub(crate) fn code(&self) -> usize {
        let lines = self.lines.iter().zip(&self.left_out);
        lines.filter(|(line, left_out)| !**left_out && is_code(line)).count()
    }

    pub(crate) fn docs(&self) -> usize {
        let lines = self.lines.iter().zip(&self.left_out);
        let is_doc = |line: &str| line.starts_with("///") || line.starts_with("//!");
        lines.filter(|(line, left_out)| !**left_out && is_doc(line)).count()
    }
}

fn is_code(line: &str) -> bool {
    !line.is_empty() && !line.starts_with("//")
}
