//! Long literals are found wherever they stand: a search that leaps over text in which none can begin misses none.
//!
//! Few letters, so that texts are full of beginnings of literals, and of literals within and behind each other.

use serde_json::json;
use watertight_content::sigma::{load_texts, JsonEvent, Slots, Source};
use watertight_engine::{Image, LogSource, Scratch};

const TEXTS: usize = 20_000;

/// Numbers that look random and are the same in every run (xorshift, Marsaglia 2003).
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % most
    }

    fn text(&mut self, least: u64, most: u64) -> String {
        let size = least + self.below(most - least + 1);
        (0..size).map(|_| ['a', 'b', 'B', 'c', 'k', 'ä', 'Ä', '\u{212a}'][self.below(8) as usize]).collect()
    }
}

/// As rules compare: letters and their capitals are one, and the Kelvin sign is a `k`.
fn folded(text: &str) -> String {
    text.chars().map(|letter| if letter == '\u{212a}' { 'k' } else { letter }).collect::<String>().to_lowercase()
}

/// A rule for each place that a literal can have; all literals of one have at least so many characters.
fn rules(literals: &[String]) -> String {
    let places = ["", "|contains", "|startswith", "|endswith"];
    let mut text = String::new();
    for (number, place) in places.iter().enumerate() {
        let list = literals.join("', '");
        text.push_str(&format!(
            "title: t\nid: r{number}\nlogsource: {{category: c}}\ndetection: {{s: {{f{number}{place}: ['{list}']}}, condition: s}}\n---\n"
        ));
    }
    let list = literals.join("', '");
    text.push_str(&format!(
        "title: t\nid: r4\nlogsource: {{category: c}}\ndetection: {{s: ['{list}'], condition: s}}\n"
    ));
    text
}

#[test]
fn a_search_that_leaps_finds_what_plain_comparison_finds() {
    let mut dice = Dice(0x9E37_79B9_7F4A_7C15);
    let mut hits = 0;
    for least in [3, 4, 5, 8, 12] {
        let literals: Vec<String> = (0..6).map(|_| dice.text(least, least + 3)).collect();
        let mut library = load_texts([Source { file: "long.yml", text: &rules(&literals) }]);
        assert!(library.rejections.is_empty(), "{:?}", library.rejections);
        let bytes = library.image().expect("it compiles");
        let image = Image::open(&bytes).expect("compiled here");
        let plan = image.plan(&LogSource { category: Some("c"), product: None, service: None });
        let (slots, mut scratch) = (Slots::of(&image), Scratch::new());
        let literals: Vec<String> = literals.iter().map(|literal| folded(literal)).collect();
        for _ in 0..TEXTS / 5 {
            // Now and then a literal stands in the text.
            let planted = &literals[dice.below(6) as usize];
            let planted = if dice.below(2) == 0 { planted.as_str() } else { "" };
            let text = format!("{}{planted}{}", dice.text(0, 12), dice.text(0, 6));
            let event = json!({ "f0": text, "f1": text, "f2": text, "f3": text, "other": text });
            let mut fired = Vec::new();
            plan.evaluate(&JsonEvent::new(&event, &slots), &mut scratch, &mut |rule| {
                fired.extend(image.rule(rule).map(|rule| rule.id().to_owned()));
            });
            fired.sort();
            let plain = folded(&text);
            let holds: [&dyn Fn(&String) -> bool; 5] = [
                &|literal| plain == *literal,
                &|literal| plain.contains(literal),
                &|literal| plain.starts_with(literal),
                &|literal| plain.ends_with(literal),
                &|literal| plain.contains(literal),
            ];
            let expected: Vec<String> = (0..5)
                .filter(|at| literals.iter().any(|literal| holds[*at](literal)))
                .map(|at| format!("r{at}"))
                .collect();
            assert_eq!(fired, expected, "{text:?} with {literals:?}");
            hits += fired.len();
        }
    }
    assert!(hits > TEXTS, "{hits} hits would prove little");
}

/// Whether a rule of these keywords fires on the event.
fn fires(keywords: &str, event: &serde_json::Value) -> bool {
    let text = format!("title: t\nid: r\nlogsource: {{category: c}}\ndetection: {{s: [{keywords}], condition: s}}\n");
    let mut library = load_texts([Source { file: "keywords.yml", text: &text }]);
    assert!(library.rejections.is_empty(), "{:?}", library.rejections);
    let bytes = library.image().expect("it compiles");
    let image = Image::open(&bytes).expect("compiled here");
    let plan = image.plan(&LogSource { category: Some("c"), product: None, service: None });
    let mut fired = false;
    plan.evaluate(&JsonEvent::new(event, &Slots::of(&image)), &mut Scratch::new(), &mut |_| fired = true);
    fired
}

#[test]
fn long_keywords_are_found_in_values_that_are_no_text() {
    let event = json!({ "a": 123_456_789, "b": true, "c": -0.0625, "d": ["x", -77_777], "e": null });
    for keyword in ["2345678", "true", "-0.0625", "0.062", "-7777"] {
        assert!(fires(&format!("'{keyword}'"), &event), "{keyword}");
        assert!(fires(&format!("'{keyword}', 'another long one'"), &event), "{keyword}");
    }
    assert!(!fires("'2345679'", &event) && !fires("'null'", &event));
}

#[test]
fn a_keyword_is_in_one_value_or_in_none() {
    let event = json!({ "a": "the nee", "b": "dle is here", "c": 1234, "d": 5678 });
    assert!(!fires("'needle'", &event) && !fires("'12345678'", &event) && !fires("'bdle is'", &event));
    assert!(fires("'dle is'", &event) && fires("'needle', '1234'", &event));
}

#[test]
fn a_text_that_begins_a_keyword_everywhere_hides_none() {
    let keyword = format!("{}b", "a".repeat(64));
    let many = "a".repeat(20_000);
    for text in [format!("{many}b"), format!("{keyword}{many}"), format!("{many}B{many}")] {
        assert!(fires(&format!("'{keyword}', 'aaaac'"), &json!({ "f": text, "g": "x" })));
    }
    assert!(!fires(&format!("'{keyword}', 'aaaac'"), &json!({ "f": many, "g": many })));
}
