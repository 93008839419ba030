//! What somebody may have meant.

/// Names less alike than this are not worth mentioning; it is where clap draws the line for flags.
const ALIKE: f64 = 0.7;

/// The name that is most like the one that was typed, if any is.
pub(super) fn nearest<'a>(typed: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let likeness = |name: &str| strsim::jaro_winkler(&typed.to_lowercase(), &name.to_lowercase());
    let alike = names.into_iter().map(|name| (likeness(name), name)).filter(|(likeness, _)| *likeness > ALIKE);
    alike.max_by(|(one, _), (other, _)| one.total_cmp(other)).map(|(_, name)| name)
}

/// `; did you mean X?`, or nothing.
pub(super) fn did_you_mean<'a>(typed: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    nearest(typed, names).map_or_else(String::new, |name| format!("; did you mean {name}?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name() {
        let names = ["orders", "order-items", "payments", "user-login"];
        let check = |typed: &str, want: Option<&str>| assert_eq!(nearest(typed, names), want, "{typed}");
        check("ordres", Some("orders"));
        check("Orders", Some("orders"));
        check("payment", Some("payments"));
        check("user_login", Some("user-login"));
        check("zzz", None);
        assert_eq!(did_you_mean("ordres", names), "; did you mean orders?");
        assert_eq!(did_you_mean("zzz", names), "");
    }
}
