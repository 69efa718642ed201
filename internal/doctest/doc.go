// Package doctest holds the documentation to what the program does. It has tests only:
//
//   - a sh block that is followed by a text block is run against a real poe, and must print that text;
//   - a go block that is a whole program must compile, and one that is a function must be one of the engine's, as it is;
//   - tables of settings, metrics and problems must name what there is, all of it and nothing else;
//   - links between pages must lead somewhere.
package doctest
