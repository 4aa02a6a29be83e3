//! How the engine asks an event for its fields.
//!
//! A trait with callbacks instead of a value tree, so that a typed event answers from its own memory: no copy, no
//! allocation, and a field with several values (a list) is simply several calls.

/// A field that rules name: its slot in `Image::fields`, by which an event prepared for that image can answer without
/// comparing names, and the name itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'r> {
    /// Position of the name in `Image::fields`.
    pub slot: u16,
    /// The name as rules write it, for example `CommandLine`.
    pub name: &'r str,
}

/// One value of a field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'e> {
    /// The field is there and says that it has no value.
    Null,
    /// A truth value; to text patterns it reads `true` or `false`.
    Bool(bool),
    /// A whole number; to text patterns it reads as its decimal digits.
    Int(i64),
    /// A number with a fraction; to text patterns it reads as Rust prints it.
    Real(f64),
    /// Text as the machine gave it: mostly UTF-8, but nothing relies on that.
    Text(&'e [u8]),
}

/// The text of all values of an event in one piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Texts<'e> {
    /// Has each value as text patterns see it, whole.
    pub bytes: &'e [u8],
    /// How many values there are.
    pub values: usize,
}

/// An event as rules see it.
pub trait Fields {
    /// Calls `each` once for every value of `field`; not at all when the event has no such field.
    fn get<'e>(&'e self, field: Field<'_>, each: &mut dyn FnMut(Value<'e>));

    /// The same for several fields, which ascend by slot: with each value the position of its field among them. The values of a field
    /// follow each other.
    fn get_each<'e>(&'e self, fields: &[Field<'_>], each: &mut dyn FnMut(usize, Value<'e>)) {
        for (position, field) in fields.iter().enumerate() {
            self.get(*field, &mut |value| each(position, value));
        }
    }

    /// Calls `each` for every value of every field, those that no rule names included: what keyword searches read. The slot
    /// is that of the image the event was prepared for, `None` when no rule of it names the field.
    fn all<'e>(&'e self, each: &mut dyn FnMut(Option<u16>, &'e str, Value<'e>));

    /// The text of all values that `all` tells, where it lies in one piece anyway: mostly no keyword is in any of it, which is found out
    /// sooner at once than value by value.
    fn texts(&self) -> Option<Texts<'_>> {
        None
    }

    /// Whether something that was asked for is not all that there was: what made the event took less of it.
    fn is_cut(&self) -> bool {
        false
    }
}
