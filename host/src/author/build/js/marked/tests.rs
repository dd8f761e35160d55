use super::*;

/// Returns the marked form of these lines of a module, in a function.
fn of(lines: &str) -> String {
    let program = format!("// src/a.ts\nfunction f() {{\n{lines}\n}}\nexport {{\n  f\n}};\n");
    let text = marked(&program, |module| module == "src/a.ts").expect("it is understood");
    assert_eq!(text.lines().count(), program.lines().count() + 2, "no line is put in");
    let own = text.split_once("function f() {__at(0);\n").expect("the function").1;
    own.split_once("\n}\nreturn {\n  f\n};\n").expect("what it exports").0.replace("__at(", "@(")
}

#[test]
fn statements_are_marked_where_they_begin() {
    assert_eq!(of("a();\nb();"), "a();\n@(1);b();");
    assert_eq!(of("if (a) {\n  b();\n} else\n  c();\nd();"), "if (a) {@(1);\n  b();\n} else\n  c();\n@(2);d();");
}

#[test]
fn loops_are_marked_with_and_without_braces() {
    assert_eq!(of("while (true) ;"), "while (@(1),true) ;");
    assert_eq!(of("for (; ; ) x++;"), "for (;@(1) ; ) x++;");
    assert_eq!(of("for (let i = 0; i < 3; i++) x++;"), "for (let i = 0;@(1), i < 3; i++) x++;");
    assert_eq!(of("do\n  i();\nwhile (x);"), "do\n  i();\nwhile (@(1),x);");
    assert_eq!(of("do {\n  i();\n} while (x);"), "do {@(1);\n  i();\n} while (@(2),x);");
    assert_eq!(of("for (const a of b) {\n}"), "for (const a of b) {@(1);\n}");
}

#[test]
fn functions_are_marked() {
    assert_eq!(of("g((x) => x + 1, 2);"), "g((x) => (@(1),x + 1/*at*/), 2);");
    assert_eq!(of("g(a ? (x) => x ? 1 : 2 : 3);"), "g(a ? (x) => (@(1),x ? 1 : 2 /*at*/): 3);");
    assert_eq!(of("g(() => ({ a: 1 }));"), "g(() => (@(1),({ a: 1 })/*at*/));");
    assert_eq!(of("g(() => {\n});"), "g(() => {@(1);\n});");
    assert_eq!(
        of("const o = { a: 1, get b() {\n  return 1;\n}, while() {\n} };"),
        "const o = { a: 1, get b() {@(1);\n  return 1;\n}, while() {@(2);\n} };"
    );
    assert_eq!(
        of("class A extends B {\n  static x = 1;\n  *y() {\n    yield 1;\n  }\n}"),
        "class A extends B {\n  static x = 1;\n  *y() {@(1);\n    yield 1;\n  }\n}"
    );
}

#[test]
fn cases_are_no_statements_and_their_own_are() {
    assert_eq!(
        of("switch (x) {\n  case a ? 1 : 2:\n    b();\n    break;\n  default: {\n    c();\n  }\n}\nd();"),
        "switch (x) {\n  case a ? 1 : 2:\n    @(1);b();\n    @(2);break;\n  default: @(3);{@(4);\n    c();\n  }\n}\n@(5);d();"
    );
}

#[test]
fn texts_and_regular_expressions_are_left_as_they_are() {
    for same in [
        "return /[/}]{2,3}\\/(a|b)/g.test(s) || s.length / 2 / 3;",
        "return \"while (\\\"{ \" + '}';",
        "return `a {${`b}${c}`}\n while (`;",
        "return x.return / 2 / y;",
        "return { a: 1, class: 2, default: 3 }.class / 2 / 3; // while (",
        "return a?.b ?? c[1] / 2 / 3;",
    ] {
        assert_eq!(of(same), same);
    }
    assert_eq!(of("if (a) /b;/.test(c);\n/d;/.test(e);"), "if (a) /b;/.test(c);\n@(1);/d;/.test(e);");
    assert_eq!(of("return `${a.map((b) => `${b};`)}`;"), "return `${a.map((b) => (@(1),`${b};`/*at*/))}`;");
}

#[test]
fn only_the_modules_that_are_wanted_are_there() {
    let program = "import * as log from \"millstream:plugin/log@0.1.2\";\nimport { a as b, c } from \"x\";\n\
                   // sdk/a.ts\nvar f = () => 1;\nfunction g() {\n  x;\n}\n// src/b.ts\nvar h = () => 2;\n\
                   export {\n  f,\n  h as i\n};\n/* a as b */\n";
    let text = marked(program, |module| !module.starts_with("sdk/")).expect("it is understood");
    assert_eq!(
        text,
        "(function (__at) { \"use strict\";\n\n\n\n\n\n\n\n\nvar h = () => (__at(0),2/*at*/);\nreturn {\n  f,\n  i: h\n};\n\
         /* a as b */\n})"
    );
}

#[test]
fn what_is_not_understood_has_no_second_text() {
    for program in [
        ")\nexport {\n};",
        "function f() {\nexport {\n};",
        "export default 1;",
        "import \"x\";\nexport {\n};",
        "f();",
        "`\nexport {\n};",
        "\"a\nexport {\n};",
        "__at(1);\nexport {\n};",
        "x = /a\nexport {\n};",
    ] {
        assert!(marked(&format!("// a\n{program}\n"), |_| true).is_none(), "{program}");
    }
}
