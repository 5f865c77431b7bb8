//! Mistakes as text, in the style of rustc.

use std::ops::Range;
use std::path::Path;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

use super::error::Mistake;
use super::secrets;
use super::yaml::Span;

/// Width at which long lines are cut around the place: the terminal's own width is not asked, so
/// that a message reads the same everywhere.
const WIDTH: usize = 120;

/// All `mistakes` of `text`, which stands at `path`.
pub(super) fn render(path: &Path, text: &str, mistakes: &[Mistake], color: bool) -> String {
    let renderer = if color {
        Renderer::styled()
    } else {
        Renderer::plain()
    }
    .term_width(WIDTH);
    let masked = secrets::mask(text);
    let path = path.display().to_string();
    let blocks: Vec<String> = mistakes
        .iter()
        .map(|mistake| {
            let rendered = renderer.render(&[group(mistake, &path, &masked)]);
            // Masking and cutting leave blanks at the ends of lines.
            rendered
                .lines()
                .map(str::trim_end)
                .collect::<Vec<_>>()
                .join("\n")
        })
        .collect();
    let mut out = blocks.join("\n\n");
    if mistakes.len() > 1 {
        out.push_str(&format!("\n\n{} errors in {path}", mistakes.len()));
    }
    out
}

fn group<'a>(mistake: &'a Mistake, path: &'a str, text: &'a str) -> Group<'a> {
    let mut group = Group::with_title(Level::ERROR.primary_title(&*mistake.message));
    if let Some(span) = mistake.span {
        let mut primary = AnnotationKind::Primary.span(visible(span, text));
        if let Some(label) = &mistake.label {
            primary = primary.label(&**label);
        }
        let related = mistake.related.iter().map(|(span, label)| {
            AnnotationKind::Context
                .span(visible(*span, text))
                .label(&**label)
        });
        let snippet = Snippet::source(text)
            .path(path)
            .annotation(primary)
            .annotations(related);
        group = group.element(snippet);
    } else {
        group = group.element(Origin::path(path));
    }
    for help in &mistake.help {
        group = group.element(Level::HELP.message(&**help));
    }
    group
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
