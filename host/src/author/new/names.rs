//! The allowed names of a project. The name is that of a package, a directory, a file and, in most languages, a
//! function.

use crate::author::language::Language;
use millstream_base::error::{Error, Result};

/// Maximum bytes of a project's name.
const NAME_BYTES_MAX: usize = 64;

/// Rust keywords, and names reserved by cargo.
const RUST: &str = "abstract alloc as async await become box break build const continue core crate deps do dyn else enum \
    examples extern false final fn for gen if impl in incremental let loop macro match millstream-sdk mod move mut override \
    priv proc-macro pub ref return self serde static std struct super test trait true try type typeof union unsafe unsized \
    use virtual where while yield";

/// Python keywords, the modules of its standard library, which a plugin's module would hide, and the SDK's names.
const PYTHON: &str = "abc aifc and antigravity argparse array as assert ast async asynchat asyncio asyncore atexit audioop \
    await base64 bdb binascii bisect break builtins bz2 calendar cases cgi cgitb chunk class cmath cmd code codecs codeop \
    collections colorsys compileall componentize-py compression concurrent configparser contextlib contextvars continue copy \
    copyreg cprofile crypt csv ctypes curses dataclasses datetime dbm decimal def del difflib dis distutils doctest elif \
    else email encodings ensurepip enum errno except faulthandler fcntl filecmp fileinput finally fnmatch for fractions \
    from ftplib functools gc genericpath getopt getpass gettext glob global graphlib grp gzip hashlib heapq hmac html http \
    idlelib if imaplib imghdr imp import importlib in inspect io ipaddress is itertools json keyword lambda lib2to3 \
    linecache locale logging lzma mailbox mailcap marshal math millstream millstream-sdk mimetypes mmap modulefinder msilib \
    msvcrt multiprocessing netrc nis nntplib nonlocal not nt ntpath nturl2path numbers opcode operator optparse or os \
    ossaudiodev pass pathlib pdb pickle pickletools pip pipes pkgutil platform plistlib poplib posix posixpath pprint \
    profile pstats pty pwd pyclbr pydoc pydoc-data pyexpat pytest queue quopri raise random re readline reprlib resource \
    return rlcompleter runpy sched sdk secrets select selectors setuptools shelve shlex shutil signal site smtpd smtplib \
    sndhdr socket socketserver spwd sqlite3 sre-compile sre-constants sre-parse ssl stat statistics string stringprep \
    struct subprocess sunau symtable symtable sys sysconfig syslog tabnanny tarfile telnetlib tempfile termios test tests \
    textwrap this threading time timeit tkinter token tokenize tomllib trace traceback tracemalloc try tty turtle turtledemo \
    types typing unicodedata unittest urllib uu uuid venv warnings wave weakref webbrowser while winreg winsound with \
    wit-world wsgiref xdrlib xml xmlrpc yield zipapp zipfile zipimport zlib zoneinfo";

/// JavaScript and TypeScript keywords, and Node modules, whose names npm does not allow.
const JAVASCRIPT: &str = "any arguments as assert async await boolean break buffer case catch class cluster console const \
    constants continue crypto debugger declare default delete dgram dns do domain else enum eval events export extends false \
    finally for fs function get http http2 https if implements import in inspector instanceof interface is let \
    millstream-sdk module net new null number object os package path perf-hooks private process protected public punycode \
    querystring readline repl require return set static stream string string-decoder super switch symbol sys test this \
    throw timers tls true try tty type typeof undefined unknown url util v8 var vm void wasi while with worker-threads \
    yield zlib";

/// Go keywords, predeclared names, and packages of its standard library.
const GO: &str = "all any append archive bool break bufio byte bytes cap case cases chan clear close cmd cmp complex \
    complex128 complex64 compress const container context continue copy crypto database debug default defer delete else \
    embed encoding error errors expvar fallthrough false flag float32 float64 fmt for func go goto hash html if image \
    imag import index init int int16 int32 int64 int8 interface internal io iota iter len log main make map maps math max \
    millstream mime min net new nil os package panic path plugin print println range real recover reflect regexp return \
    rune runtime sdk select slices sort std strconv string strings struct structs switch sync syscall test testing text \
    time true type uint uint16 uint32 uint64 uint8 uintptr unicode unique unsafe var vendor weak";

/// C keywords, and functions and types of its library, with which a plugin's function would collide.
const C: &str = "abort abs acos asin assert atan atan2 atexit atof atoi atol auto bool break bsearch calloc case cbrt ceil \
    char clock close connect const continue copysign cos cosh ctime default difftime div do double dup else enum environ erf \
    errno exit exp exp2 expm1 extern fabs false fclose fdim feof ferror fflush fgetc fgets float floor fma fmax fmin fmod \
    fopen for fprintf fputc fputs fread free frexp fscanf fseek ftell fwrite getc getchar getenv goto hypot if index inline \
    int isalnum isalpha isdigit islower isspace isupper labs ldexp link llabs log log10 log1p log2 logb long lseek main \
    malloc memchr memcmp memcpy memmove memset mktime modf nan near open perror pipe poll pow printf putc putchar puts \
    qsort raise rand random read realloc recv register remove rename restrict return rewind rint round scanf select send \
    setjmp short signal signed sin sinh sizeof sleep socket sprintf sqrt srand sscanf stat static stderr stdin stdout \
    strcat strchr strcmp strcpy strdup strlen strncmp strncpy strstr strtod strtol struct switch system tan tanh tgamma \
    time tolower toupper true trunc typedef ungetc union unlink unsigned void volatile wait while write";

/// Rejects an invalid name, or one that the language does not allow.
pub fn check(name: &str, language: Language) -> Result<()> {
    let is_word = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let fits = name.len() <= NAME_BYTES_MAX
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.split('-').all(is_word);
    if !fits {
        let message =
            "is not a valid plugin name; use a-z and 0-9, with single `-` between them, for example `split-text`";
        return Err(Error::job(format!("`{name}` {message}")));
    }
    let (reserved, whose) = match language {
        Language::Rust => (RUST, "Rust or cargo"),
        Language::Python => (PYTHON, "Python, of its standard library or of the SDK"),
        Language::JavaScript => (JAVASCRIPT, "JavaScript or Node"),
        Language::Go => (GO, "Go or its standard library"),
        Language::C => (C, "C or its library"),
    };
    if reserved.split_whitespace().any(|word| word == name) {
        return Err(Error::job(format!("`{name}` is a reserved word of {whose}; choose another name")));
    }
    Ok(())
}
