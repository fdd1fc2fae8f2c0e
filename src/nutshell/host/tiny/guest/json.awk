# Prints a JSON document as lines "path<TAB>value"; the path's parts are joined by dots. Strings are unescaped,
# and a line end within one ends the value. Numbers, true, false and null come as they are.
{ text = text $0 "\n" }
END { at = 1; value("") }

function skip() { while (substr(text, at, 1) ~ /[ \t\r\n]/) at++ }

function string(   out, char, part) {
    at++
    while (at <= length(text)) {
        if (match(substr(text, at), /^[^"\\]+/)) { out = out substr(text, at, RLENGTH); at += RLENGTH; continue }
        char = substr(text, at, 1)
        if (char == "\"") { at++; return out }
        char = substr(text, at + 1, 1)
        at += 2
        if (char == "n" || char == "r") out = out "\n"
        else if (char == "t") out = out "\t"
        else if (char == "u") { part = substr(text, at, 4); at += 4; out = out sprintf("%c", hex(part)) }
        else out = out char
    }
    return out
}

function hex(digits,   i, n) {
    for (i = 1; i <= length(digits); i++) n = n * 16 + index("0123456789abcdef", tolower(substr(digits, i, 1))) - 1
    return n
}

function show(path, found) { sub(/\n.*/, "", found); print path "\t" found }

function value(path,   char, name, count, start) {
    skip()
    char = substr(text, at, 1)
    if (char == "\"") { show(path, string()); return }
    if (char != "{" && char != "[") {
        start = at
        while (at <= length(text) && substr(text, at, 1) !~ /[],} \n]/) at++
        show(path, substr(text, start, at - start))
        return
    }
    at++
    while (at <= length(text)) {
        skip()
        if (substr(text, at, 1) ~ /[]}]/) { at++; return }
        if (substr(text, at, 1) == ",") { at++; continue }
        if (char == "{") { name = string(); skip(); at++ } else name = count++ + 0
        value(path == "" ? name : path "." name)
    }
}
