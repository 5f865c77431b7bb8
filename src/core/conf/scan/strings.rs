//! Strings, includes and numbers.

use super::{END, Kind, Next, Scanner, State, ends_number, is_blank, is_newline, is_suffix, shown, wrong};

impl Scanner<'_> {
    pub(super) fn include(&mut self) -> Next {
        while is_blank(self.peek()) {
            self.next();
        }
        self.drop_text();
        match self.peek() {
            quote @ ('"' | '\'') => {
                self.next();
                self.drop_text();
                loop {
                    match self.next() {
                        c if c == quote => break,
                        END => return wrong("Unexpected EOF in quoted include"),
                        _ => {}
                    }
                }
                self.back();
                self.emit(Kind::Include);
                self.next();
                self.drop_text();
                return self.pop();
            }
            '[' => return wrong("Expected include value but found start of an array"),
            '{' => return wrong("Expected include value but found start of a map"),
            '(' => return wrong("Expected include value but found start of a block"),
            '\\' => return wrong("Expected include value but found escape sequence"),
            c if c.is_ascii_digit() || c == '-' => return wrong("Expected include value but found start of a number"),
            c if is_newline(c) => return wrong("Expected include value but found new line"),
            _ => {}
        }
        loop {
            let c = self.next();
            if is_newline(c) || is_blank(c) || matches!(c, END | ';' | '}' | '\'') {
                self.back();
                self.emit(Kind::Include);
                if c == '\'' {
                    self.next();
                    self.drop_text();
                }
                return self.pop();
            }
        }
    }

    pub(super) fn quoted(&mut self) -> Next {
        loop {
            match self.next() {
                '\'' => return self.close(),
                END => return self.end(),
                _ => {}
            }
        }
    }

    pub(super) fn double_quoted(&mut self) -> Next {
        loop {
            match self.next() {
                '\\' => self.escape()?,
                '"' => return self.close(),
                END => return self.end(),
                _ => {}
            }
        }
    }

    /// At a quote that was just read: the string before it is whole.
    fn close(&mut self) -> Next {
        self.back();
        self.emit(Kind::Text);
        self.next();
        self.drop_text();
        self.pop()
    }

    /// After a backslash.
    fn escape(&mut self) -> Result<(), super::Wrong> {
        let before = &self.text[self.start..self.at - 1];
        let mut parts = self.parts.take().unwrap_or_default();
        parts.push_str(before);
        let c = self.next();
        match c {
            't' => parts.push('\t'),
            'n' => parts.push('\n'),
            'r' => parts.push('\r'),
            '"' => parts.push('"'),
            '\\' => parts.push('\\'),
            'x' => {
                let digits: String = [self.next(), self.next()].iter().collect();
                match u8::from_str_radix(&digits, 16) {
                    // Bytes beyond ASCII need not be UTF-8 in nats-server; here they become characters.
                    Ok(byte) if !digits.starts_with('+') => parts.push(char::from(byte)),
                    _ => {
                        let text = format!("Expected two hexadecimal digits after '\\x', but got '{digits}'");
                        return Err(super::Wrong(text));
                    }
                }
            }
            _ => {
                return Err(super::Wrong(format!(
                    "Invalid escape character '{}'. Only the following escape characters are allowed: \\xXX, \\t, \\n, \\r, \\\", \\\\.",
                    shown(c)
                )));
            }
        }
        self.parts = Some(parts);
        self.drop_text();
        Ok(())
    }

    pub(super) fn bare(&mut self) -> Next {
        loop {
            let c = self.next();
            if c == '\\' {
                self.escape()?;
                continue;
            }
            if c == '\'' {
                return self.close();
            }
            if !(is_newline(c) || is_blank(c) || matches!(c, END | ';' | ',' | ']' | '}')) {
                continue;
            }
            self.back();
            let word = &self.text[self.start..self.at];
            let lower = word.to_ascii_lowercase();
            let kind = if self.parts.is_some() {
                Kind::Text
            } else if matches!(lower.as_str(), "true" | "false" | "on" | "off" | "yes" | "no") {
                Kind::Bool
            } else if word.starts_with('$') {
                self.start += 1;
                Kind::Variable
            } else {
                Kind::Text
            };
            self.emit(kind);
            return self.pop();
        }
    }

    /// `(` was read: all up to a `)` alone on its line.
    pub(super) fn block(&mut self) -> Next {
        loop {
            match self.next() {
                ')' => {
                    let begins_line = self.text[..self.at - 1].ends_with('\n');
                    match self.peek() {
                        '\n' if begins_line => return self.close(),
                        // At the very end the bracket is part of the text.
                        END if begins_line => {
                            self.emit(Kind::Text);
                            return self.pop();
                        }
                        _ => {}
                    }
                }
                END => return wrong("Unexpected EOF processing block."),
                _ => {}
            }
        }
    }

    pub(super) fn number(&mut self) -> Next {
        loop {
            let c = self.next();
            match c {
                _ if c.is_ascii_digit() => {}
                '-' if self.at - self.start == 5 => return Ok(State::Time),
                '-' => return wrong("All ISO8601 dates must be in full Zulu form."),
                '.' => return Ok(State::Fraction),
                _ if is_suffix(c) => return Ok(State::Suffix),
                _ if ends_number(c) => {
                    self.back();
                    self.emit(Kind::Integer);
                    return self.pop();
                }
                // A `]` is taken into the text with it: `[1]` does not end there.
                _ => return Ok(State::Bare),
            }
        }
    }

    pub(super) fn negative_number(&mut self) -> Next {
        loop {
            let c = self.next();
            match c {
                _ if c.is_ascii_digit() => {}
                '.' => return Ok(State::Fraction),
                _ if is_suffix(c) => return Ok(State::Suffix),
                _ => {
                    self.back();
                    self.emit(Kind::Integer);
                    return self.pop();
                }
            }
        }
    }

    pub(super) fn suffix(&mut self) -> Next {
        while matches!(self.peek(), 'b' | 'B' | 'i' | 'I') {
            self.next();
        }
        let c = self.peek();
        if ends_number(c) || c.is_ascii_digit() {
            self.emit(Kind::Integer);
            return self.pop();
        }
        Ok(State::Bare)
    }

    /// After the `.` of a number.
    pub(super) fn fraction(&mut self) -> Next {
        let c = self.next();
        if !c.is_ascii_digit() {
            return wrong(format!("Floats must have a digit after the '.', but got '{}' instead.", shown(c)));
        }
        while self.peek().is_ascii_digit() {
            self.next();
        }
        if self.peek() == '.' {
            self.next();
            return Ok(State::Address);
        }
        self.emit(Kind::Float);
        self.pop()
    }

    pub(super) fn address(&mut self) -> Next {
        while matches!(self.peek(), '0'..='9' | '.' | ':' | '-') {
            self.next();
        }
        self.emit(Kind::Text);
        self.pop()
    }

    /// After `YYYY-`.
    pub(super) fn time(&mut self) -> Next {
        for expected in "00-00T00:00:00Z".chars() {
            let c = self.next();
            if expected == '0' && !c.is_ascii_digit() {
                return wrong(format!("Expected digit in ISO8601 datetime, but found '{}' instead.", shown(c)));
            }
            if expected != '0' && expected != c {
                return wrong(format!("Expected '{expected}' in ISO8601 datetime, but found '{}' instead.", shown(c)));
            }
        }
        self.emit(Kind::Time);
        self.pop()
    }
}
