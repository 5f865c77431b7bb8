//! Text in lines that fit: a terminal has 80 columns at 3 a.m.

/// The width that text is broken to.
const WIDTH: usize = 80;

/// `text` broken into lines of at most `WIDTH`, the first behind `first`, the others indented as far. A word that is
/// longer than a line, such as a path, is not broken.
pub fn wrapped(first: &str, text: &str) -> String {
    let indent = first.chars().count();
    let mut out = String::from(first);
    let mut column = indent;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if column > indent && column + 1 + length > WIDTH {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', indent));
            column = indent;
        } else if column > indent {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += length;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_fit_and_words_stay_whole() {
        assert_eq!(wrapped("  ", "a b"), "  a b");
        let text = format!("{} {} {}", "a".repeat(40), "b".repeat(37), "c".repeat(90));
        let wrapped = wrapped("x ", &text);
        let lines: Vec<&str> = wrapped.lines().collect();
        assert_eq!(lines, [format!("x {} {}", "a".repeat(40), "b".repeat(37)), format!("  {}", "c".repeat(90))]);
    }
}
