//! What can be wrong with a rule, its tests or a release: one table with a stable code, the words, what the place is labelled with, and the mend.
//!
//! Codes are never used again for something else: people look them up and suppress them. `docs/reference/diagnostics.md` is made
//! from this table.

use crate::rule::RegexError;

macro_rules! reasons {
    ($($variant:ident { $($field:ident: $type:ty),* } $code:literal $what:literal $label:literal $mend:literal)*) => {
        /// What is wrong with a rule or a file beside it; the fields are what the words name.
        #[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
        #[allow(missing_docs)] // the words of each say it
        pub enum Reason {
            $(#[error($what)] $variant { $($field: $type),* },)*
        }

        #[allow(unused_variables, clippy::useless_format)] // not every text names every field
        impl Reason {
            /// The code, which stays the same for ever.
            #[must_use]
            pub fn code(&self) -> &'static str {
                match self { $(Self::$variant { .. } => $code,)* }
            }

            /// What the place in the file is labelled with.
            #[must_use]
            pub fn label(&self) -> String {
                match self { $(Self::$variant { $($field),* } => format!($label),)* }
            }

            /// What to do about it.
            #[must_use]
            pub fn mend(&self) -> String {
                match self { $(Self::$variant { $($field),* } => format!($mend),)* }
            }
        }

        /// Code, words and mend of every reason; what stands in braces is named in each case.
        const TABLE: &[(&str, &str, &str)] = &[$(($code, $what, $mend)),*];
    };
}

reasons! {
    Yaml { what: String } "WT0001" "this is not YAML: {what}" "the reader could not go on here" "look here and at the line above for a missing quote, bracket, colon or indentation"
    TooLarge { what: &'static str, limit: usize } "WT0002" "the document has more than {limit} {what}" "one too many" "split it"
    NoDocument {} "WT0003" "there is no rule in this file" "nothing here" "remove it, or add one"
    NotAMapping { found: &'static str } "WT0004" "the document is {found}, not a mapping" "{found}" "begin with title, id, logsource and detection"
    NotCompiled { what: String } "WT0005" "{what}" "this rule" "split the rule or shorten what it names"
    DuplicateKey { key: String } "WT0006" "the key {key:?} is there twice: the first would be lost" "the second time" "take one of the two out, or put both values under one key"
    Unsupported { kind: &'static str } "WT0101" "{kind} are not supported" "not supported" "keep this document in a folder of its own"
    Missing { field: &'static str } "WT0102" "{field} is missing" "begins here" "add {field}"
    WrongType { field: String, wanted: &'static str, found: &'static str } "WT0103" "{field} must be {wanted}, not {found}" "{found}" "write {wanted}"
    BadId { id: String } "WT0104" "id {id:?} is not an identifier" "no identifier" "use a UUID"
    NotPlain { field: &'static str, text: String } "WT0105" "{field} {text:?} has a control or bidirectional character, which would show as something else" "not what it looks like" "take it out"
    DuplicateId { id: String, other: String } "WT0106" "id {id} is already that of the rule in {other}" "the second time" "give this one a new UUID"
    UnknownLevel { level: String, mend: String } "WT0107" "level {level:?} is unknown" "unknown level" "{mend}"
    UnknownLogsourceKey { key: String, mend: String } "WT0108" "logsource key {key:?} is unknown" "unknown key" "{mend}"
    EmptyLogsource {} "WT0109" "logsource names no category, product or service: the rule would apply to everything" "names nothing" "name one"
    UnsupportedDetectionKey { key: String, mend: &'static str } "WT0110" "detection key {key:?} is not supported" "not supported" "{mend}"
    EmptySelection { selection: String } "WT0201" "selection {selection:?} is empty" "empty" "give it a field and a value"
    BadSelection { selection: String, found: &'static str } "WT0202" "selection {selection:?} has {found} where a field, a keyword or a list of them belongs" "{found}" "write a field with its values, or a text as keyword"
    UnknownModifier { field: String, modifier: String, mend: String } "WT0203" "modifier {modifier:?} of {field:?} is unknown" "unknown modifier" "{mend}"
    ConflictingModifiers { field: String, first: String, second: String } "WT0204" "modifiers {first:?} and {second:?} of {field:?} contradict each other" "contradicts {first:?}" "keep one"
    MisplacedModifier { field: String, modifier: String, why: &'static str, mend: &'static str } "WT0205" "modifier {modifier:?} of {field:?} {why}" "not here" "{mend}"
    NoPlaceholderValue { field: String, placeholder: String } "WT0206" "{field:?} has an expand modifier, but there is no value for placeholder {placeholder}" "no value for it" "write the values out"
    BadValue { field: String, wanted: &'static str, found: String } "WT0207" "{field:?} has {found} as value, where {wanted} is needed" "not {wanted}" "write {wanted}"
    NoValues { field: String } "WT0208" "{field:?} has no values" "empty" "give it at least one"
    Regex { field: String, error: RegexError } "WT0209" "{field:?}: {error}" "can't be used" "write it without look-around and back-references, and with smaller repetitions"
    Condition { what: String, part: String, mend: String } "WT0301" "condition: {what}" "here" "{mend}"
    UnknownSelection { name: String, mend: String } "WT0302" "condition names {name:?}, but detection has no such selection" "no such selection" "{mend}"
    NothingFits { pattern: String, mend: String } "WT0303" "condition names {pattern:?}, but no selection fits it" "fits no selection" "{mend}"
    NoTarget { field: String } "WT0401" "{field} names no rule" "no rule" "name the ids of rules, or write `any` in a filter"
    ExceptsAnything { kind: &'static str } "WT0402" "the condition of the {kind} is true of events that fit none of its selections" "true of what nobody named" "write what is excepted: `condition: selection`"
    UnknownAction { action: String, mend: String } "WT0501" "action {action:?} is unknown" "unknown action" "{mend}"
    UnknownMode { mode: String, mend: String } "WT0502" "mode {mode:?} is unknown" "unknown mode" "{mend}"
    ModeWithoutAction {} "WT0503" "mode says how an action is taken, but there is no action other than an alert" "of no action" "add `action: kill` or `action: deny_next`, or remove mode"
    Correlation { what: String, mend: String } "WT0701" "correlation: {what}" "here" "{mend}"
    NoSuchRule { reference: String } "WT0702" "correlation refers to {reference:?}, and no rule that was accepted has this id or name" "no such rule" "correct it, or load the folder that the rule is in too"
    AmbiguousRule { reference: String } "WT0703" "correlation refers to {reference:?}, which is the name of several rules" "the name of several" "use the id"
    NotSupplied { field: String, logsource: String, mend: String } "WT0601" "{logsource} does not supply the field {field}" "not supplied" "{mend}"
    UnknownKey { key: String, mend: String } "WT0801" "key {key:?} is unknown" "unknown key" "{mend}"
    OneDocument { found: usize, holds: &'static str } "WT0802" "this file has {found} documents, where one is needed with {holds}" "this file" "write one document with {holds}"
    PackName { name: String, rule: &'static str } "WT0803" "name {name:?} is none that a pack may have" "no name of a pack" "write {rule}"
    Engines { what: String, mend: String } "WT0804" "engine {what}" "for no host" "{mend}"
    TestCase { what: String, label: &'static str, mend: String } "WT0805" "{what}" "{label}" "{mend}"
    OnlyOneWay { what: String, mend: String } "WT0806" "{what}" "not tried both ways" "{mend}"
    WrongFieldType { field: String, found: String, logsource: String } "WT0602" "what is asked of {field} can't be true: in {logsource} it is {found}" "it is {found}" "ask for {field} as {found}"
    NotMeasured { field: String, found: String, logsource: String } "WT0603" "{field} can't be measured: in {logsource} it is {found}" "it is {found}" "name a field that is a whole number"
}

impl Reason {
    /// The part of the text at hand that it is about.
    pub(crate) fn part(&self) -> &str {
        match self {
            Self::UnknownModifier { modifier: part, .. }
            | Self::MisplacedModifier { modifier: part, .. }
            | Self::ConflictingModifiers { second: part, .. }
            | Self::Condition { part, .. }
            | Self::UnknownSelection { name: part, .. }
            | Self::NothingFits { pattern: part, .. } => part,
            _ => "",
        }
    }
}

/// Farthest that a word may be from one that is known to be taken for it: a third of its letters.
const DISTANCE_SHARE: usize = 3;

/// "Did you mean", if something known is near; else `otherwise`.
pub(crate) fn did_you_mean<'k>(
    word: &str,
    known: impl IntoIterator<Item = &'k str>,
    otherwise: impl Into<String>,
) -> String {
    let distance = |known: &&str| strsim::damerau_levenshtein(&word.to_lowercase(), &known.to_lowercase());
    let is_near = |known: &&str| distance(known) <= known.chars().count().div_ceil(DISTANCE_SHARE);
    let nearest = known.into_iter().filter(is_near).min_by_key(distance);
    nearest.map_or_else(|| otherwise.into(), |known| format!("did you mean `{known}`?"))
}

/// The reference page of all codes.
#[must_use]
pub fn reference_page() -> String {
    let mut page = "# Diagnostics of rules\n\n\
        What `watertight rules check`, `detect`, `run` and `content build` refuse, by code. What stands in braces is named in each case.\n\
        Made from the table of the reader (`content/src/sigma/reason.rs`): a test compares.\n\n\
        | code | what is wrong | the mend |\n|---|---|---|\n"
        .to_owned();
    for (code, what, mend) in TABLE {
        let plain = |text: &str| text.replace(":?}", "}").replace('|', "\\|");
        page.push_str(&format!("| {code} | {} | {} |\n", plain(what), plain(mend)));
    }
    page
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_code_stands_for_two_reasons() {
        let codes: BTreeSet<&str> = TABLE.iter().map(|(code, ..)| *code).collect();
        assert_eq!(codes.len(), TABLE.len());
        assert!(codes.iter().all(|code| code.len() == 6 && code.starts_with("WT")), "{codes:?}");
    }

    #[test]
    fn a_word_that_is_near_is_offered_and_one_that_is_not_is_not() {
        let known = ["contains", "endswith", "startswith", "re"];
        assert_eq!(did_you_mean("contians", known, "no"), "did you mean `contains`?");
        assert_eq!(did_you_mean("EndsWith", known, "no"), "did you mean `endswith`?");
        assert_eq!(did_you_mean("nonsense", known, "no"), "no");
    }
}
