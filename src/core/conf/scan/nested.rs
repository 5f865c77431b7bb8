//! Maps and arrays.

use super::{END, Kind, Next, Scanner, State, shown, wrong};

impl Scanner<'_> {
    pub(super) fn map_key_start(&mut self) -> Next {
        let c = self.peek();
        match c {
            ':' | '=' => return wrong(format!("Unexpected key separator '{c}'.")),
            ']' => return wrong("Unexpected array end ']' processing map."),
            END => return wrong("Unexpected EOF processing map."),
            _ => {}
        }
        self.next();
        if c.is_whitespace() {
            return self.skip(State::MapKeyStart);
        }
        match c {
            '}' => self.map_end(),
            _ if self.comment(c) => self.comment_then(State::MapKeyStart),
            quote @ ('"' | '\'') => self.skip(State::QuotedKey { quote, in_map: true }),
            // A single slash is lost, and the key begins after it.
            '/' => {
                self.drop_text();
                self.next();
                Ok(State::Key { in_map: true })
            }
            _ => {
                self.start = self.at - c.len_utf8();
                Ok(State::Key { in_map: true })
            }
        }
    }

    pub(super) fn map_end(&mut self) -> Next {
        self.drop_text();
        self.emit(Kind::MapEnd);
        self.pop()
    }

    pub(super) fn map_value(&mut self) -> Next {
        let c = self.next();
        match c {
            _ if c.is_whitespace() => self.skip(State::MapValue),
            ',' => wrong("Unexpected map value terminator ','."),
            '}' => self.map_end(),
            _ => {
                self.back();
                self.stack.push(State::MapValueEnd);
                Ok(State::Value)
            }
        }
    }

    pub(super) fn map_value_end(&mut self) -> Next {
        let c = self.next();
        match c {
            ' ' | '\t' => self.skip(State::MapValueEnd),
            _ if self.comment(c) => self.comment_then(State::MapValueEnd),
            // A single slash passes for a comma.
            '/' | ';' | ',' | '\n' | '\r' => self.skip(State::MapKeyStart),
            '}' => self.map_end(),
            _ => wrong(format!(
                "Expected a map value terminator ',' or a map terminator '}}', but got '{}' instead.",
                shown(c)
            )),
        }
    }

    pub(super) fn array_value(&mut self) -> Next {
        let c = self.next();
        match c {
            _ if c.is_whitespace() => self.skip(State::ArrayValue),
            _ if self.comment(c) => self.comment_then(State::ArrayValue),
            '/' | ',' => wrong("Unexpected array value terminator ','."),
            ']' => self.array_end(),
            _ => {
                self.back();
                self.stack.push(State::ArrayValueEnd);
                Ok(State::Value)
            }
        }
    }

    pub(super) fn array_value_end(&mut self) -> Next {
        let c = self.next();
        match c {
            ' ' | '\t' => self.skip(State::ArrayValueEnd),
            _ if self.comment(c) => self.comment_then(State::ArrayValueEnd),
            '/' | ',' | '\n' | '\r' => self.skip(State::ArrayValue),
            ']' => self.array_end(),
            _ => wrong(format!(
                "Expected an array value terminator ',' or an array terminator ']', but got '{}' instead.",
                shown(c)
            )),
        }
    }

    pub(super) fn array_end(&mut self) -> Next {
        self.drop_text();
        self.emit(Kind::ArrayEnd);
        self.pop()
    }
}
