// The rows of the namespace as text, one line each, for people and for diff.
#pragma once

#include <string>
#include <string_view>

namespace tercet {

/// One line without its end: the table's name, the key's parts, ": " and the fields by name. The
/// same row always gives the same line, and rows in key order give a dump in that order. Ids are
/// decimal; names are quoted, with \" \\ \n \t \r, and \xNN for what is not valid UTF-8 or would
/// not show as itself (control characters, marks of writing direction); times are UTC with
/// nanoseconds, then the exact number in parentheses. A row that cannot be understood comes out as
/// "unknown KEY = VALUE" in hexadecimal, and why.
///   inode 2: regular mode=0644 uid=1000 gid=100 nlink=1 size=0 …
///   dentry 1 "a": inode=2 type=regular
std::string DumpStateRow(std::string_view key, std::string_view value);

}  // namespace tercet
