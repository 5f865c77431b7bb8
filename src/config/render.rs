//! Mistakes as text, in the style of rustc.

use std::ops::Range;
use std::path::Path;

use annotate_snippets::{Annotation, AnnotationKind, Group, Level, Origin, Renderer, Snippet};

use super::error::Mistake;
use super::secrets;
use super::yaml::Span;

/// Width at which long lines are cut around the place: the terminal's own width is not asked, so
/// that a message reads the same everywhere.
const WIDTH: usize = 120;

/// All `mistakes` of `text`, which stands at `path`; `more` are not among them.
pub(super) fn render(path: &Path, text: &str, mistakes: &[Mistake], more: usize, color: bool) -> String {
    let renderer = if color { Renderer::styled() } else { Renderer::plain() }.term_width(WIDTH);
    let masked = secrets::mask(text);
    let path = path.display().to_string();
    let mut blocks: Vec<String> = mistakes
        .iter()
        .map(|mistake| {
            let block = renderer.render(&[group(mistake, &path, &masked)]);
            // Masking and cutting leave blanks at the ends of lines.
            block.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
        })
        .collect();
    match (mistakes.len(), more) {
        (0 | 1, 0) => {}
        (shown, 0) => blocks.push(format!("{shown} errors in {path}")),
        (shown, more) => blocks.push(format!("{shown} errors in {path}, and {more} more")),
    }
    blocks.join("\n\n")
}

fn group<'a>(mistake: &'a Mistake, path: &'a str, text: &'a str) -> Group<'a> {
    let mut group = Group::with_title(Level::ERROR.primary_title(&*mistake.message));
    if let Some(span) = mistake.span {
        group = group.element(snippet(mistake, span, path, text));
    } else {
        group = group.element(Origin::path(path));
    }
    for help in &mistake.help {
        group = group.element(Level::HELP.message(&**help));
    }
    group
}

/// The lines from the first place of `mistake` to its last.
fn snippet<'a>(mistake: &'a Mistake, span: Span, path: &'a str, text: &'a str) -> Snippet<'a, Annotation<'a>> {
    let places: Vec<Range<usize>> = std::iter::once(span)
        .chain(mistake.related.iter().map(|(span, _)| *span))
        .map(|span| visible(span, text))
        .collect();
    let first = places.iter().map(|place| place.start).min().unwrap_or(0);
    let last = places.iter().map(|place| place.end).max().unwrap_or(0);
    let from = text[..first].rfind('\n').map_or(0, |at| at + 1);
    let to = text[last..].find('\n').map_or(text.len(), |at| last + at);
    let labels =
        std::iter::once(mistake.label.as_deref()).chain(mistake.related.iter().map(|(_, label)| Some(label.as_str())));
    let annotations = places.iter().zip(labels).enumerate().map(|(n, (place, label))| {
        let kind = if n == 0 { AnnotationKind::Primary } else { AnnotationKind::Context };
        kind.span(place.start - from..place.end - from).label(label)
    });
    Snippet::source(&text[from..to])
        .path(path)
        .line_start(text[..from].matches('\n').count() + 1)
        .annotations(annotations)
}

/// The part of `span` that is worth underlining: what stands on its first line.
fn visible(span: Span, text: &str) -> Range<usize> {
    let rest = text.get(span.range()).unwrap_or_default();
    let line = rest.lines().next().unwrap_or_default();
    // A secret was overwritten by blanks.
    let len = line.trim_end().len();
    let start = span.start.min(text.len());
    start..start + len
}
