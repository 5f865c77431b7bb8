//! Numbers with suffixes.

/// A whole number as nats-server reads it: `k` is 1000, `kb`, `ki` and `kib` are 1024, and so on to `e`.
///
/// # Errors
/// It does not fit. A suffix that nats-server does not know (`kbb`) gives `Ok(None)`: it leaves such a value out.
pub fn integer(text: &str) -> Result<Option<i64>, String> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '-').unwrap_or(text.len());
    let (digits, suffix) = text.split_at(end);
    let number: i64 = digits.parse().map_err(|_| format!("integer '{text}' is out of the range"))?;
    let suffix = suffix.trim().to_ascii_lowercase();
    let powers = ["k", "m", "g", "t", "p", "e"];
    let factor: i64 = if suffix.is_empty() {
        1
    } else {
        let Some(power) = powers.iter().position(|unit| suffix.starts_with(unit)) else { return Ok(None) };
        let base: i64 = match &suffix[1..] {
            "" => 1000,
            "b" | "i" | "ib" => 1024,
            _ => return Ok(None),
        };
        (0..=power).fold(1_i64, |product, _| product.wrapping_mul(base))
    };
    // Go's multiplication wraps, and so does nats-server's.
    Ok(Some(number.wrapping_mul(factor)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffixes_multiply() {
        for (text, expected) in [
            ("0", Ok(Some(0))),
            ("-1", Ok(Some(-1))),
            ("1k", Ok(Some(1000))),
            ("1KB", Ok(Some(1024))),
            ("2Ki", Ok(Some(2048))),
            ("3MiB", Ok(Some(3 << 20))),
            ("1G", Ok(Some(1_000_000_000))),
            ("1gb", Ok(Some(1 << 30))),
            ("1e", Ok(Some(1_000_000_000_000_000_000))),
            ("1kbb", Ok(None)),
            ("9223372036854775808", Err(())),
        ] {
            assert_eq!(integer(text).map_err(drop), expected, "{text}");
        }
    }
}
