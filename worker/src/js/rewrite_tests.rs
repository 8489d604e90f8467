//! What the loader changes in scripts, and what it must leave alone: cases, and programs made at random
//! of which it is known where their calls are.

use std::borrow::Cow;

use super::rewrite::rewritten;

// covers CON-30
#[test]
fn calls_of_address_parts_are_marked_and_nothing_else() {
    let marked = rewritten("a.address( \n) + b.host() + c.user(1) + d.users() + user()");
    assert_eq!(
        marked,
        "a.address$called( \n) + b.host$called() + c.user(1) + d.users() + user()"
    );
    assert!(matches!(rewritten("é.user(x)"), Cow::Borrowed(_)));
}

#[test]
fn splitting_at_blanks_is_marked_and_no_other() {
    assert_eq!(
        rewritten(
            "a.split(/\\s+/)[0] + b.split(/\\s/) + c.split(/\\s+/, 2) + d.split(/\\s+/g) + e\n.split(/\\s+/)"
        ),
        "a.split$blank(/\\s+/)[0] + b.split(/\\s/) + c.split(/\\s+/, 2) + d.split(/\\s+/g) + e\n.split$blank(/\\s+/)"
    );
    let text = "'a.split(/\\s+/)'";
    assert_eq!(rewritten(text), text);
}

#[test]
fn replacing_plain_text_everywhere_needs_no_expression() {
    for (script, expected) in [
        ("s.replace(/0/g, 'o')", "s.replace$all('0', 'o')"),
        (
            "s\n.replace(/\\)/g,\"g\" ).replace(/\\$/g, '')",
            "s\n.replace$each(')\\ng\\n$\\n')",
        ),
        (
            "s.replace(/a/g, 'b').replace(/c/g,\n\"it's\")\r\n  .replace(/'/g, '' ) // x\n.replace(/0/g, '1')",
            "s.replace$each('a\\nb\\nc\\nit\\'s\\n\\'\\n'\n\r\n) // x\n.replace$all('0', '1')",
        ),
        (
            "s?.replace(/a/g, 'b')?.replace(/c/g, 'd').replace(/e/, 'f').x(g.replace(/h/g, 'i'))",
            "s?.replace$all('a', 'b')?.replace$all('c', 'd').replace(/e/, 'f').x(g.replace$all('h', 'i'))",
        ),
        (r"s.replace(/a'\\/g, 'é')", r"s.replace$all('a\'\\', 'é')"),
        (
            "s.replace(/\\/\\//g,\n 'é(')",
            "s.replace$all('//',\n 'é(')",
        ),
    ] {
        assert_eq!(rewritten(script), expected);
    }
}

#[test]
fn replacing_that_is_more_than_plain_text_stays_as_it_is() {
    for script in [
        "s.replace(/0/, 'o')",
        "s.replace(/0/gi, 'o')",
        "s.replace(/./g, 'o')",
        "s.replace(/a|b/g, 'o')",
        "s.replace(/[0]/g, 'o')",
        "s.replace(/\\d/g, 'o')",
        "s.replace(/\\n/g, 'o')",
        "s.replace(/é/g, 'o')",
        "s.replace(/0/g, '$&')",
        "s.replace(/0/g, 'a\\n')",
        "s.replace(/0/g, 'a' + b)",
        "s.replace(/0/g, `a`)",
        "s.replace(/0/g, f)",
        "s.replace(/0/g)",
        "s.replace(//g, 'a')",
        "replace(/0/g, 'a')",
        "s.replace(/0",
        "s.replace(/0\\",
        "s.replace(/0/g, '",
    ] {
        assert_eq!(rewritten(script), script);
    }
}

// covers CON-30
#[test]
fn what_looks_like_a_call_and_is_none_stays_as_it_is() {
    for script in [
        "'a.user()'",
        r#""it\"s a.user()""#,
        "'a \\\n b.user()'",
        "'a \\\r\n b.user()'",
        "`a.user() ${'b.user()'} c.user()`",
        "`\\` a.user() \\${ b.user() }`",
        "// a.user()\n",
        "// it's\n/* a.user()\n\"b.user() */",
        "/[/]a.user()/.test(x)",
        "x = /'a.user()/",
        "return /\\/a.user()/g",
        "if (x) /'a.user()/.exec(y)",
        "x = y ? /'a.user()/ : /a.host()/",
        "{ x } /'a.user()/",
        "() => { x }\n/'a.user()/",
        "case /'a.user()/:",
        "x = a.user(b)",
        // Not a member of anything, not one's own, not called.
        "f(...user())",
        "class A extends B { user() { return super.user() } }",
        "new a.user()",
        "new a.b.host ()",
        "x = `a.user()",
        "x = 'a.user()",
        "/* a.user()",
        "'a.replace(/a/g, \"b\")'",
        "/* a.replace(/a/g, 'b') */",
        "super.replace(/a/g, 'b')",
        "// \u{e9} a.user()\r// b.user()\u{2028}// c.user()",
    ] {
        assert_eq!(rewritten(script), script);
    }
}

// covers CON-30
#[test]
fn calls_among_what_is_no_code_are_found() {
    for script in [
        "x / y; a.user(); b / 2",
        "x++ / y; a.user(); '/'",
        "f(x) / y; a.user(); '/'",
        "x[0] / y; a.user(); '/'",
        "`${ `${ a.user() }` }`",
        "`${ { x: { y: a.user() } } }`",
        "'//'; a.user() // '",
        "/[/]'/; a.user()",
        "x = {} / 2; a.user(); '/'",
        "x = function () {} / 2; a.user(); '/'",
        "function f() {} /'/; a.user(); '\\''",
        "x = { return: 1 } / 2; a.user(); '/'",
        "x.return / 2; a.user(); '/'",
        "x = class { m() {} } / 2; a.user(); '/'",
        "class A extends f({}) { m() {} } /'/; a.user(); '\\''",
        "export default function () {} /'/; a.user(); '\\''",
        "x = y ? { z: 1 } : { z: 2 } / 2; a.user(); '/'",
        "x ?.5 / 1 : 2; a.user(); '/'",
        "for await (const x of /'/) a.user()",
        "a /* ' */ . /* \" */ b.user()",
        "a?.user() ?? new B().user()",
        "renew.user(); anew\n.user()",
        "\u{feff}'\u{e9}'.x / y; a\u{e9}.user(); '/'",
        "1..x / 2; a.user(); '/'",
        "x = 'open\na.user()",
    ] {
        let expected = script.replace(".user()", ".user$called()");
        assert_eq!(rewritten(script), expected);
    }
}

#[test]
fn a_script_of_brackets_alone_is_passed() {
    for bracket in ["(", "[", "{", "`${", "a.user(", "}", ")"] {
        let script = format!("a.user();{}", bracket.repeat(100_000));
        assert!(rewritten(&script).starts_with("a.user$called();"));
    }
}

/// Text that only code may be changed in.
const NO_CALL: &str = ".user() .replace(/a/g, 'b') .host()";

/// Makes programs, together with what they must become.
struct Maker {
    state: u64,
    script: String,
    expected: String,
}

impl Maker {
    fn below(&mut self, most: u64) -> u64 {
        // The generator of Knuth's MMIX.
        self.state = self.state.wrapping_mul(6_364_136_223_846_793_005);
        self.state = self.state.wrapping_add(1_442_695_040_888_963_407);
        (self.state >> 33) % most
    }

    fn put(&mut self, text: &str) {
        self.script.push_str(text);
        self.expected.push_str(text);
    }

    fn blank(&mut self) {
        match self.below(8) {
            0 => self.put(&format!(" /* ' \" ` / {NO_CALL} */ ")),
            1 => self.put(&format!(" // ' \" ` / {NO_CALL}\n")),
            2 => self.put("\n"),
            _ => self.put(" "),
        }
    }

    fn expression(&mut self) {
        let at = usize::try_from(self.below(4)).unwrap();
        self.put(["/'/", "/[/`]/g", "/.user()\\//", "/(?:\")[\\]/]x/u"][at]);
    }

    fn call(&mut self) {
        match self.below(4) {
            0 => {
                self.script.push_str(".user( )");
                self.expected.push_str(".user$called( )");
            }
            1 => {
                self.script.push_str(".replace(/'/g, \"q\")");
                self.expected.push_str(".replace$all('\\'', \"q\")");
            }
            2 => self.put(".replace(/'/, \"q\")"),
            _ => {
                self.script.push_str("?.address()");
                self.expected.push_str("?.address$called()");
            }
        }
    }

    /// Something that operators and calls may follow.
    fn value(&mut self, deep: u64) {
        match self.below(if deep == 0 { 8 } else { 20 }) {
            0 => self.put("x"),
            1 => self.put("1.5"),
            2 => self.put(&format!("'it\\'s \" ` / {}'", NO_CALL.replace('\'', "\\'"))),
            3 => self.put(&format!("\"\\\\ ' ` ${{ / {NO_CALL}\"")),
            4 => self.expression(),
            5 => self.put("x.return"),
            6 => self.put("x++"),
            7 => self.put(&format!("`\\` ' \" \\${{ / {NO_CALL}`")),
            8 => {
                self.put(&format!("` ' {NO_CALL} ${{"));
                self.value(deep - 1);
                self.put("}}'");
                self.put("${");
                self.blank();
                self.value(deep - 1);
                self.put("} / `");
            }
            9 => {
                self.put("{ a: ");
                self.value(deep - 1);
                self.put(", 'b': /'/, if: /'/, class: 1, m() {");
                self.statement(deep - 1);
                self.put("}, get g() { return /'/ }, async *n() {} }");
            }
            10 => {
                self.put("function* (a = ");
                self.value(deep - 1);
                self.put(") {");
                self.statement(deep - 1);
                self.put("}");
            }
            11 => {
                self.put("class extends (");
                self.value(deep - 1);
                self.put(") { static s = ");
                self.value(deep - 1);
                self.put("; if(a) {");
                self.statement(deep - 1);
                self.put("} #p = /'/ }");
            }
            12 => {
                self.put("[...user(), /'/, ");
                self.value(deep - 1);
                self.put("]");
            }
            13 => {
                self.put("(() => {");
                self.statement(deep - 1);
                self.put("})");
            }
            14 => {
                self.put("(a => (");
                self.value(deep - 1);
                self.put("))");
            }
            15 => {
                self.put("(x ?");
                self.blank();
                self.value(deep - 1);
                self.put(" : ");
                self.value(deep - 1);
                self.put(")");
            }
            16 => {
                self.put("async function () { await (");
                self.value(deep - 1);
                self.put(")}");
            }
            _ => {
                self.put("(");
                self.blank();
                self.value(deep - 1);
                self.put(")");
                self.call();
            }
        }
        match self.below(6) {
            0 => {
                self.put(" /");
                self.blank();
                self.value(deep / 2);
            }
            1 => {
                self.put(" ** (");
                self.value(deep / 2);
                self.put(") / 2");
            }
            _ => {}
        }
    }

    fn body(&mut self, deep: u64, before: &str, after: &str) {
        self.put(before);
        self.statement(deep - 1);
        self.put(after);
    }

    fn statement(&mut self, deep: u64) {
        self.blank();
        if deep == 0 {
            return self.put("x = /'/;");
        }
        match self.below(10) {
            0 => self.body(deep, "{", "} /'/.exec(x);"),
            1 => self.body(deep, "function f() {", "} /'/.exec(x);"),
            2 => self.body(deep, "async function g() {", "}\n/'/.exec(x);"),
            3 => self.body(
                deep,
                "{ class A { m() {",
                "} n = {} / 2 / x } /'/.exec(x) }",
            ),
            4 => self.body(deep, "switch (x) { case /'/: default: {", "} /'/.exec(x) }"),
            5 => self.body(deep, "for (const k of /'/) {", "}"),
            6 => self.body(
                deep,
                "if (x) /'/.exec(x); else /'/.exec(x); do {",
                "} while (/'/);",
            ),
            7 => {
                self.put("while (x) /'/.exec(");
                self.value(deep - 1);
                self.put(");");
            }
            8 => {
                self.put("try {} catch {} finally {} throw ");
                self.value(deep - 1);
                self.put(";");
            }
            _ => {
                self.put("y =");
                self.blank();
                self.value(deep - 1);
                self.put(";");
                self.statement(deep - 1);
            }
        }
    }
}

// covers CON-30
#[test]
fn of_programs_made_at_random_the_calls_alone_are_changed() {
    let mut calls = 0;
    for seed in 0..2000 {
        let mut made = Maker {
            state: seed,
            script: String::new(),
            expected: String::new(),
        };
        for _ in 0..4 {
            made.statement(5);
        }
        calls += made.expected.matches("$called").count();
        assert_eq!(rewritten(&made.script), made.expected, "seed {seed}");
    }
    assert!(calls > 500, "{calls}");
}
