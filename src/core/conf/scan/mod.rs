//! One file into items. The states, and what each makes of a character, are nats-server's own (`conf/lex.go`), its oddities
//! among them: what it accepts we accept, and the other way round.

/// A piece of a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// What it is.
    pub kind: Kind,
    /// Its text.
    pub text: String,
    /// The line it ends on, from 1.
    pub line: u32,
}

/// The kinds of [`Item`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A mistake; its text says which. Nothing follows.
    Error,
    /// The end. Nothing follows.
    End,
    /// A key.
    Key,
    /// Text.
    Text,
    /// `true` and the like, unquoted.
    Bool,
    /// A whole number, with its suffix.
    Integer,
    /// A number with a fraction.
    Float,
    /// A date and time.
    Time,
    /// `$NAME`, without the `$`.
    Variable,
    /// The path after `include`.
    Include,
    /// `[`
    ArrayStart,
    /// `]`
    ArrayEnd,
    /// `{`
    MapStart,
    /// `}`
    MapEnd,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Top,
    TopValueEnd,
    BlockStart,
    BlockValueEnd,
    BlockEnd,
    Comment,
    /// In a map (or at the top level).
    KeyStart,
    Key {
        in_map: bool,
    },
    QuotedKey {
        quote: char,
        in_map: bool,
    },
    KeyEnd,
    MapKeyStart,
    MapKeyEnd,
    MapValue,
    MapValueEnd,
    Value,
    ArrayValue,
    ArrayValueEnd,
    Include,
    Quoted,
    DoubleQuoted,
    Bare,
    Block,
    Number,
    NegativeNumber,
    Suffix,
    Fraction,
    Address,
    Time,
    Done,
}

/// What a NUL is to nats-server, too.
const END: char = '\0';

/// An error's text; the scan stops.
struct Wrong(String);

type Next = Result<State, Wrong>;

/// Reads a file; the last item is [`Kind::End`] or [`Kind::Error`].
pub fn scan(text: &str) -> Vec<Item> {
    let mut scanner =
        Scanner { text, start: 0, at: 0, width: 0, line: 1, parts: None, stack: Vec::new(), items: Vec::new() };
    let mut state = State::Top;
    while state != State::Done {
        state = match scanner.step(state) {
            Ok(next) => next,
            Err(Wrong(text)) => {
                scanner.items.push(Item { kind: Kind::Error, text, line: scanner.line });
                State::Done
            }
        };
    }
    scanner.items
}

struct Scanner<'a> {
    text: &'a str,
    start: usize,
    at: usize,
    width: usize,
    line: u32,
    /// What escapes made so far of the string under way.
    parts: Option<String>,
    stack: Vec<State>,
    items: Vec<Item>,
}

fn is_newline(c: char) -> bool {
    matches!(c, '\n' | '\r')
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t')
}

/// What ends a number that stands alone; `]` does not.
fn ends_number(c: char) -> bool {
    is_newline(c) || is_blank(c) || matches!(c, END | '}' | ';' | ',')
}

fn is_suffix(c: char) -> bool {
    matches!(c.to_ascii_lowercase(), 'k' | 'm' | 'g' | 't' | 'p' | 'e')
}

fn wrong(text: impl Into<String>) -> Next {
    Err(Wrong(text.into()))
}

/// A character as messages show it.
fn shown(c: char) -> String {
    if c == '\n' { "\\n".into() } else { c.to_string() }
}

impl Scanner<'_> {
    fn next(&mut self) -> char {
        let Some(c) = self.text[self.at..].chars().next() else {
            self.width = 0;
            return END;
        };
        if c == '\n' {
            self.line += 1;
        }
        self.width = c.len_utf8();
        self.at += self.width;
        c
    }

    /// Undoes the last [`Scanner::next`], once.
    fn back(&mut self) {
        self.at -= self.width;
        if self.width > 0 && self.text[self.at..].starts_with('\n') {
            self.line -= 1;
        }
        self.width = 0;
    }

    fn peek(&mut self) -> char {
        self.text[self.at..].chars().next().unwrap_or(END)
    }

    fn drop_text(&mut self) {
        self.start = self.at;
    }

    fn skip(&mut self, next: State) -> Next {
        self.drop_text();
        Ok(next)
    }

    fn emit(&mut self, kind: Kind) {
        let text = self.parts.take().unwrap_or_default() + &self.text[self.start..self.at];
        self.items.push(Item { kind, text, line: self.line });
        self.start = self.at;
    }

    fn pop(&mut self) -> Next {
        match self.stack.pop() {
            Some(state) => Ok(state),
            None => wrong("nothing to go back to"),
        }
    }

    /// The end of the text where it may come, unless something was begun.
    fn end(&mut self) -> Next {
        if self.at > self.start {
            return wrong("Unexpected EOF.");
        }
        self.emit(Kind::End);
        Ok(State::Done)
    }

    /// Whether a comment begins with `c`, the last character read; a single `/` is put back.
    fn comment(&mut self, c: char) -> bool {
        if c == '/' && self.peek() == '/' {
            self.next();
            return true;
        }
        c == '#'
    }

    fn comment_then(&mut self, after: State) -> Next {
        self.stack.push(after);
        Ok(State::Comment)
    }

    fn step(&mut self, state: State) -> Next {
        match state {
            State::Top | State::BlockStart => self.keys(state),
            State::TopValueEnd => self.top_value_end(),
            State::BlockValueEnd => self.block_value_end(),
            State::BlockEnd => self.block_end(),
            State::Comment => {
                while !is_newline(self.peek()) && self.peek() != END {
                    self.next();
                }
                self.drop_text();
                self.pop()
            }
            State::KeyStart => self.key_start(),
            State::Key { in_map } => self.key(in_map),
            State::QuotedKey { quote, in_map } => self.quoted_key(quote, in_map),
            State::KeyEnd | State::MapKeyEnd => self.key_end(state == State::MapKeyEnd),
            State::MapKeyStart => self.map_key_start(),
            State::MapValue => self.map_value(),
            State::MapValueEnd => self.map_value_end(),
            State::Value => self.value(),
            State::ArrayValue => self.array_value(),
            State::ArrayValueEnd => self.array_value_end(),
            State::Include => self.include(),
            State::Quoted => self.quoted(),
            State::DoubleQuoted => self.double_quoted(),
            State::Bare => self.bare(),
            State::Block => self.block(),
            State::Number => self.number(),
            State::NegativeNumber => self.negative_number(),
            State::Suffix => self.suffix(),
            State::Fraction => self.fraction(),
            State::Address => self.address(),
            State::Time => self.time(),
            State::Done => Ok(State::Done),
        }
    }

    fn keys(&mut self, state: State) -> Next {
        let in_block = state == State::BlockStart;
        let c = self.next();
        if c.is_whitespace() {
            return self.skip(state);
        }
        if c == '{' {
            self.stack.push(if in_block { State::BlockEnd } else { State::Top });
            return self.skip(State::BlockStart);
        }
        if in_block && c == '}' {
            self.drop_text();
            return self.pop();
        }
        if self.comment(c) {
            return self.comment_then(state);
        }
        if c == '/' || c == END {
            return self.end();
        }
        self.back();
        self.stack.push(if in_block { State::BlockValueEnd } else { State::TopValueEnd });
        Ok(State::KeyStart)
    }

    fn top_value_end(&mut self) -> Next {
        let c = self.next();
        match c {
            _ if self.comment(c) => self.comment_then(State::Top),
            // A single slash passes for a blank.
            '/' | ' ' | '\t' => Ok(State::TopValueEnd),
            '\n' | '\r' | END | ';' | ',' | '}' => self.skip(State::Top),
            _ => wrong(format!(
                "Expected a top-level value to end with a new line, comment or EOF, but got '{}' instead.",
                shown(c)
            )),
        }
    }

    fn block_value_end(&mut self) -> Next {
        let c = self.next();
        match c {
            _ if self.comment(c) => self.comment_then(State::BlockValueEnd),
            '/' | ' ' | '\t' => Ok(State::BlockValueEnd),
            '\n' | '\r' | ';' | ',' => self.skip(State::BlockStart),
            '}' => {
                self.back();
                Ok(State::BlockEnd)
            }
            _ => wrong(format!(
                "Expected a block-level value to end with a new line, comment or EOF, but got '{}' instead.",
                shown(c)
            )),
        }
    }

    fn block_end(&mut self) -> Next {
        let c = self.next();
        match c {
            _ if self.comment(c) => self.comment_then(State::BlockStart),
            '/' | ' ' | '\t' | '\n' | '\r' => Ok(State::BlockEnd),
            ';' | ',' => self.skip(State::BlockStart),
            '}' => {
                self.drop_text();
                self.pop()
            }
            _ => wrong(format!("Expected a block-level to end with a '}}', but got '{}' instead.", shown(c))),
        }
    }

    fn key_start(&mut self) -> Next {
        match self.peek() {
            c @ (':' | '=') => wrong(format!("Unexpected key separator '{c}'")),
            c if c.is_whitespace() => {
                self.next();
                self.skip(State::KeyStart)
            }
            quote @ ('"' | '\'') => {
                self.next();
                self.skip(State::QuotedKey { quote, in_map: false })
            }
            _ => {
                self.drop_text();
                self.next();
                Ok(State::Key { in_map: false })
            }
        }
    }

    fn quoted_key(&mut self, quote: char, in_map: bool) -> Next {
        match self.peek() {
            c if c == quote => {
                self.emit(Kind::Key);
                self.next();
                self.skip(if in_map { State::MapKeyEnd } else { State::KeyEnd })
            }
            END if in_map => wrong("Unexpected EOF processing quoted map key."),
            END => self.end(),
            _ => {
                self.next();
                Ok(State::QuotedKey { quote, in_map })
            }
        }
    }

    fn key(&mut self, in_map: bool) -> Next {
        let after = if in_map { State::MapKeyEnd } else { State::KeyEnd };
        match self.peek() {
            END if in_map => wrong("Unexpected EOF processing map key."),
            c if c.is_whitespace() => {
                // `include` is a keyword only before a blank.
                if self.text[self.start..self.at].eq_ignore_ascii_case("include") {
                    self.drop_text();
                    if in_map {
                        self.stack.push(State::MapValueEnd);
                    }
                    return Ok(State::Include);
                }
                self.emit(Kind::Key);
                Ok(after)
            }
            ':' | '=' | END => {
                self.emit(Kind::Key);
                Ok(after)
            }
            _ => {
                self.next();
                Ok(State::Key { in_map })
            }
        }
    }

    fn key_end(&mut self, in_map: bool) -> Next {
        let c = self.next();
        if c.is_whitespace() {
            return self.skip(if in_map { State::MapKeyEnd } else { State::KeyEnd });
        }
        let value = if in_map { State::MapValue } else { State::Value };
        match c {
            ':' | '=' => self.skip(value),
            END if !in_map => {
                self.drop_text();
                self.emit(Kind::End);
                Ok(State::Done)
            }
            _ => {
                self.back();
                Ok(value)
            }
        }
    }

    fn value(&mut self) -> Next {
        let c = self.next();
        if is_blank(c) {
            return self.skip(State::Value);
        }
        match c {
            '[' | '{' => {
                self.drop_text();
                let (kind, next) = match c {
                    '[' => (Kind::ArrayStart, State::ArrayValue),
                    _ => (Kind::MapStart, State::MapKeyStart),
                };
                self.emit(kind);
                Ok(next)
            }
            '\'' => self.skip(State::Quoted),
            '"' => self.skip(State::DoubleQuoted),
            '(' => self.skip(State::Block),
            '-' => match self.next() {
                c if c.is_ascii_digit() => Ok(State::NegativeNumber),
                '.' => wrong("Floats must start with a digit, not '.'."),
                c => wrong(format!("Expected a digit but got '{}'.", shown(c))),
            },
            '.' => wrong("Floats must start with a digit"),
            c if c.is_ascii_digit() => Ok(State::Number),
            c if is_newline(c) => wrong("Expected value but found new line"),
            _ => {
                self.back();
                Ok(State::Bare)
            }
        }
    }
}

mod nested;
mod strings;

#[cfg(test)]
pub(crate) mod tests;
