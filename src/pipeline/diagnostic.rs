//! Messages that point into a pipeline file, into a file that it names, or into a word of the
//! command line.
//!
//! Knows nothing of what is checked. A [`Problem`] is what the checks collect: it names places by
//! number, so that they need not carry the texts about; a [`Diagnostic`] holds its text and can be
//! shown anywhere.

use std::fmt;
use std::sync::Arc;

use miette::{
    GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteError, MietteSpanContents,
    SourceCode, SourceSpan, SpanContents, ThemeCharacters, ThemeStyles,
};

use super::SourceFile;
use crate::suggest;

/// Where something stands: a range of bytes in one of the [`Sources`].
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Serialize,
    serde::Deserialize,
)]
pub struct Place {
    /// The source's number: 0 is the pipeline file; then come the files that it names, and the words
    /// of the command line.
    pub source: usize,
    /// The first byte.
    pub start: usize,
    /// The byte after the last.
    pub end: usize,
}

impl Place {
    /// Makes a place.
    pub fn new(source: usize, start: usize, end: usize) -> Place {
        Place { source, start, end: end.max(start) }
    }
}

/// The texts into which places point.
#[derive(Debug)]
pub struct Sources(Vec<Arc<SourceFile>>);

impl Sources {
    /// Begins with the pipeline file.
    pub fn new(file: Arc<SourceFile>) -> Sources {
        Sources(vec![file])
    }

    /// Adds a word of the command line as it was written, with the option that it belongs to, and
    /// gives its number.
    pub fn add(&mut self, option: &str, word: &str) -> usize {
        self.add_file(Arc::new(SourceFile { path: option.into(), text: word.to_owned() }))
    }

    /// Adds a file, and gives its number.
    pub fn add_file(&mut self, file: Arc<SourceFile>) -> usize {
        self.0.push(file);
        self.0.len() - 1
    }

    /// Gives the file or word of a number.
    pub fn file(&self, source: usize) -> &Arc<SourceFile> {
        &self.0[source]
    }

    /// Gives all files and words by their numbers.
    pub fn files(&self) -> &[Arc<SourceFile>] {
        &self.0
    }

    /// Gives the text at a place.
    pub fn text(&self, place: Place) -> &str {
        self.0[place.source].text.get(place.start..place.end).unwrap_or("")
    }

    /// Narrows a place to the first occurrence of `part` in its text, where there is one.
    pub fn narrow(&self, place: Place, part: &str) -> Place {
        match self.text(place).find(part) {
            Some(at) if !part.is_empty() => {
                Place::new(place.source, place.start + at, place.start + at + part.len())
            }
            _ => place,
        }
    }
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Severity {
    /// Nothing is run.
    Error,
    /// It is said, and the run goes on.
    Warning,
}

/// A mistake as the checks find it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub severity: Severity,
    pub message: String,
    /// The first place is the one that matters most.
    pub labels: Vec<(Place, Option<String>)>,
    pub help: Option<String>,
}

impl Problem {
    pub fn new(place: Place, message: impl Into<String>) -> Problem {
        Problem {
            severity: Severity::Error,
            message: message.into(),
            labels: vec![(place, None)],
            help: None,
        }
    }

    pub fn help(mut self, help: impl Into<String>) -> Problem {
        self.help = Some(help.into());
        self
    }

    pub fn maybe_help(mut self, help: Option<String>) -> Problem {
        self.help = help;
        self
    }

    pub fn label(mut self, place: Place, text: impl Into<String>) -> Problem {
        self.labels.push((place, Some(text.into())));
        self
    }

    pub fn warning(mut self) -> Problem {
        self.severity = Severity::Warning;
        self
    }

    /// Joins the problem with the text that it points into. Labels end with their line, since a
    /// frame around half a file helps nobody.
    pub fn diagnose(self, sources: &Sources) -> Diagnostic {
        let first = self.labels.first().map_or(0, |(place, _)| place.source);
        let mut elsewhere: Vec<Part> = Vec::new();
        let mut labels = Vec::new();
        for (place, text) in self.labels {
            let source = &sources.0[place.source];
            let label = Label::new(source, place, text);
            if place.source == first {
                labels.push(label);
                continue;
            }
            match elsewhere.iter_mut().find(|part| Arc::ptr_eq(&part.source, source)) {
                Some(part) => part.labels.push(label),
                None => {
                    elsewhere.push(Part { source: Arc::clone(source), labels: vec![label] });
                }
            }
        }
        Diagnostic {
            severity: self.severity,
            message: self.message,
            labels,
            help: self.help,
            source: Some(Arc::clone(&sources.0[first])),
            elsewhere,
        }
    }
}

/// One message, with the text that it points into.
#[derive(Clone, Debug)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong, in lower case, with names in backticks.
    pub message: String,
    /// Places in `source`, the most telling first.
    pub labels: Vec<Label>,
    /// A way out.
    pub help: Option<String>,
    /// The text that the labels point into; none where there is no readable file.
    pub source: Option<Arc<SourceFile>>,
    /// Places in other texts.
    pub elsewhere: Vec<Part>,
}

/// What a [`Diagnostic`] shows of one more text.
#[derive(Clone, Debug)]
pub struct Part {
    /// The text.
    pub source: Arc<SourceFile>,
    /// Places in it.
    pub labels: Vec<Label>,
}

/// A place in the source of a [`Diagnostic`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// Bytes of the source, all in one line.
    pub range: std::ops::Range<usize>,
    /// What is there, unless the message says it.
    pub text: Option<String>,
}

impl Label {
    fn new(source: &SourceFile, place: Place, text: Option<String>) -> Label {
        let start = floor_boundary(&source.text, place.start);
        let end = floor_boundary(&source.text, place.end).max(start);
        let line = source.text[start..end].lines().next().unwrap_or("").trim_end();
        Label { range: start..start + line.len(), text }
    }
}

fn floor_boundary(text: &str, at: usize) -> usize {
    let at = at.min(text.len());
    (0..=at).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0)
}

impl Diagnostic {
    /// Makes an error that points at nothing, such as a file that cannot be read.
    pub fn without_place(message: impl Into<String>, help: Option<String>) -> Diagnostic {
        Diagnostic {
            severity: Severity::Error,
            message: message.into(),
            labels: Vec::new(),
            help,
            source: None,
            elsewhere: Vec::new(),
        }
    }

    /// Draws the message with its places, the source lines and the help; it ends with a line feed.
    pub fn render(&self, look: Look) -> String {
        let mut texts = vec![(self.source.clone(), self.labels.clone())];
        let others = self.elsewhere.iter();
        texts.extend(others.map(|part| (Some(Arc::clone(&part.source)), part.labels.clone())));
        let last = texts.len() - 1;
        let mut drawn = String::new();
        for (index, (source, labels)) in texts.into_iter().enumerate() {
            let help = self.help.clone().filter(|_| index == last);
            let part = Diagnostic { source, labels, help, elsewhere: Vec::new(), ..self.clone() };
            let text = part.render_one(look);
            // Each further text is drawn as a message of its own, whose head was said already.
            let frame = if look.unicode { "╭─[" } else { ",-[" };
            let lines = text.split_inclusive('\n');
            drawn.extend(lines.skip_while(|line| index > 0 && !line.contains(frame)));
        }
        drawn
    }

    /// Draws what points into one text.
    fn render_one(&self, look: Look) -> String {
        let handler = GraphicalReportHandler::new_themed(look.theme())
            .with_links(false)
            .with_wrap_lines(false)
            .without_syntax_highlighting()
            .with_context_lines(CONTEXT);
        let mut drawn = String::new();
        let mut shown = self.clone();
        if !look.unicode {
            shown.help = shown.help.map(|help| help.replace('…', "..."));
        }
        if handler.render_report(&mut drawn, &shown).is_err() {
            return format!("{self}\n");
        }
        // The handler indents the message and closes each frame; a list of messages reads better
        // flush left and without the rules.
        let close = if look.unicode { "╰────" } else { "`----" };
        let lines = drawn.trim_start().lines().filter(|line| line.trim() != close);
        lines.flat_map(|line| [line.trim_end(), "\n"]).collect()
    }
}

/// How messages may be drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// With ANSI colours.
    pub colour: bool,
    /// With box-drawing characters.
    pub unicode: bool,
}

impl Look {
    fn theme(self) -> GraphicalTheme {
        let characters =
            if self.unicode { ThemeCharacters::unicode() } else { ThemeCharacters::ascii() };
        GraphicalTheme {
            characters: ThemeCharacters {
                error: "error:".to_owned(),
                warning: "warning:".to_owned(),
                ..characters
            },
            styles: if self.colour { ThemeStyles::ansi() } else { ThemeStyles::none() },
        }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for Diagnostic {}

impl miette::Diagnostic for Diagnostic {
    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.severity {
            Severity::Error => miette::Severity::Error,
            Severity::Warning => miette::Severity::Warning,
        })
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.source.as_deref().map(|source| source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        Some(Box::new(self.labels.iter().enumerate().map(|(index, label)| {
            let span = (label.range.start, label.range.len());
            match index {
                0 => LabeledSpan::new_primary_with_span(label.text.clone(), span),
                _ => LabeledSpan::new_with_span(label.text.clone(), span),
            }
        })))
    }
}

/// The context that is asked of [`SourceFile`] where it shall answer with whole lines.
const CONTEXT: usize = 1;

impl SourceCode for SourceFile {
    /// Gives the span itself with its exact place where no context is asked for, else the whole
    /// lines that it touches and no more: the handler can draw whole lines only with a context.
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        before: usize,
        after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let (mut start, mut end) = (span.offset(), span.offset() + span.len());
        let text = self.text.get(start..end).ok_or(MietteError::OutOfBounds)?;
        let line_start = self.text[..start].rfind('\n').map_or(0, |at| at + 1);
        let mut column = self.text[line_start..start].chars().count();
        if before + after > 0 {
            start = line_start;
            end = self.text[end..].find('\n').map_or(self.text.len(), |at| end + at);
            column = 0;
        }
        let line = self.text[..start].matches('\n').count();
        Ok(Box::new(MietteSpanContents::new_named(
            self.path.display().to_string(),
            &self.text.as_bytes()[start..end],
            (start, end - start).into(),
            line,
            column,
            text.matches('\n').count(),
        )))
    }
}

/// Says which word was probably meant, or which words there are.
pub(super) fn did_you_mean<'a>(
    word: &str,
    known: &str,
    candidates: impl IntoIterator<Item = &'a str> + Clone,
) -> String {
    suggest::did_you_mean(word, candidates.clone()).unwrap_or_else(|| {
        let list = listed(candidates);
        if list.is_empty() { "there are none".to_owned() } else { format!("{known}: {list}") }
    })
}

/// The most words that a message lists.
const LISTED: usize = 20;

/// Lists words in backticks, and says how many more there are.
pub(super) fn listed<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let words: Vec<String> = words.into_iter().map(|word| format!("`{word}`")).collect();
    match words.len() {
        0..=LISTED => words.join(", "),
        more => format!("{} and {} more", words[..LISTED].join(", "), more - LISTED),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(text: &str) -> Sources {
        Sources::new(Arc::new(SourceFile { path: "p.yaml".into(), text: text.to_owned() }))
    }

    #[test]
    fn a_message_shows_its_place_the_line_and_the_help() {
        let text = "a: 1\n  ümlaut: preproces.train\n";
        let sources = sources(text);
        let at = text.find("preproces").unwrap();
        let problem = Problem::new(Place::new(0, at, at + 15), "no stage gives `preproces.train`")
            .help("did you mean `preprocess.train`?");
        let look = Look { colour: false, unicode: true };
        assert_eq!(
            problem.diagnose(&sources).render(look),
            "error: no stage gives `preproces.train`\n   ╭─[p.yaml:2:11]\n 2 │   ümlaut: \
             preproces.train\n   ·           ───────────────\n  help: did you mean \
             `preprocess.train`?\n"
        );
    }

    #[test]
    fn a_label_ends_with_its_line_and_never_splits_a_character() {
        let sources = sources("a: {\n  b: ü }\n");
        let label = |start, end| {
            Problem::new(Place::new(0, start, end), "x").diagnose(&sources).labels[0].range.clone()
        };
        assert_eq!(label(3, 12), 3..4);
        assert_eq!(label(11, 99), 10..14);
        assert_eq!(label(99, 120), 15..15);
    }
}
