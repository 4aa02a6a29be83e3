//! `\w`, `\d` and `\s` as PCRE means them unless told otherwise: ASCII. A rule's author thinks of these, and the alphabets of
//! the world, sixty-four times over, do not fit into a table.

use regex_syntax::ast::{
    Ast, ClassAscii, ClassAsciiKind, ClassBracketed, ClassPerl, ClassPerlKind, ClassSet, ClassSetItem,
};

/// Makes the short classes of an expression ASCII. The parser has capped its depth.
pub(super) fn make_classes_ascii(ast: &mut Ast) {
    match ast {
        Ast::ClassPerl(perl) => {
            let kind = ClassSet::Item(ClassSetItem::Ascii(ascii(perl)));
            *ast = Ast::ClassBracketed(Box::new(ClassBracketed { span: perl.span, negated: false, kind }));
        }
        Ast::ClassBracketed(class) => set(&mut class.kind),
        Ast::Repetition(repetition) => make_classes_ascii(&mut repetition.ast),
        Ast::Group(group) => make_classes_ascii(&mut group.ast),
        Ast::Alternation(alternation) => alternation.asts.iter_mut().for_each(make_classes_ascii),
        Ast::Concat(concat) => concat.asts.iter_mut().for_each(make_classes_ascii),
        Ast::Empty(_) | Ast::Flags(_) | Ast::Literal(_) | Ast::Dot(_) | Ast::Assertion(_) | Ast::ClassUnicode(_) => {}
    }
}

fn set(class: &mut ClassSet) {
    match class {
        ClassSet::Item(member) => item(member),
        ClassSet::BinaryOp(operation) => {
            set(&mut operation.lhs);
            set(&mut operation.rhs);
        }
    }
}

fn item(member: &mut ClassSetItem) {
    match member {
        ClassSetItem::Perl(perl) => *member = ClassSetItem::Ascii(ascii(perl)),
        ClassSetItem::Bracketed(class) => set(&mut class.kind),
        ClassSetItem::Union(union) => union.items.iter_mut().for_each(item),
        _ => {}
    }
}

fn ascii(perl: &ClassPerl) -> ClassAscii {
    let kind = match perl.kind {
        ClassPerlKind::Digit => ClassAsciiKind::Digit,
        ClassPerlKind::Space => ClassAsciiKind::Space,
        ClassPerlKind::Word => ClassAsciiKind::Word,
    };
    ClassAscii { span: perl.span, kind, negated: perl.negated }
}
