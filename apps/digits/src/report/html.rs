//! Pieces of text in a page.

/// Text as HTML shows it, in an element or a quoted attribute.
pub fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

/// `97.53 %`, as HTML. What is not quite all or nothing never looks so.
pub fn percent(share: f64) -> String {
    let hundredths = (share * 10_000.0).round();
    let shown = match hundredths {
        10_000.0 if share < 1.0 => return "&gt; 99.99&nbsp;%".into(),
        0.0 if share > 0.0 => return "&lt; 0.01&nbsp;%".into(),
        shown => shown / 100.0,
    };
    format!("{shown:.2}&nbsp;%")
}

/// `12,345`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Between which shares the true one is, with a probability of 95 % (Wilson, 1927).
pub fn interval(correct: u64, total: u64) -> (f64, f64) {
    if total == 0 {
        return (0.0, 1.0);
    }
    let (n, z) = (total as f64, 1.959_964);
    let share = correct as f64 / n;
    let centre = share + z * z / (2.0 * n);
    let reach = z * (share * (1.0 - share) / n + z * z / (4.0 * n * n)).sqrt();
    let scale = 1.0 + z * z / n;
    (((centre - reach) / scale).max(0.0), ((centre + reach) / scale).min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_at_a_glance() {
        let counts = [0, 999, 1000, 1_234_567].map(count);
        assert_eq!(counts, ["0", "999", "1,000", "1,234,567"]);
        let shares = [0.0, 0.975_34, 1.0, 0.999_99, 0.999_999, 1e-9].map(percent);
        assert_eq!(
            shares,
            [
                "0.00&nbsp;%",
                "97.53&nbsp;%",
                "100.00&nbsp;%",
                "&gt; 99.99&nbsp;%",
                "&gt; 99.99&nbsp;%",
                "&lt; 0.01&nbsp;%"
            ]
        );
    }

    #[test]
    fn text_stays_text() {
        assert_eq!(escaped("<a b='c'>&\""), "&lt;a b=&#39;c&#39;&gt;&amp;&quot;");
    }

    #[test]
    fn intervals_hold_the_share_and_stay_inside() {
        // Wilson's interval of 81 of 263, from the literature.
        let (low, high) = interval(81, 263);
        assert!((low - 0.2553).abs() < 1e-4 && (high - 0.3662).abs() < 1e-4, "{low} {high}");
        assert_eq!(interval(0, 0), (0.0, 1.0));
        assert_eq!((interval(0, 9).0, interval(9, 9).1), (0.0, 1.0));
    }
}
