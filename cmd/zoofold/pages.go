package main

import (
	"embed"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/template"
)

// Help, the manual page and the shells' completions are templates over one description of the command line, which is made
// of its flag sets and of the table of subcommands.
//
//go:embed pages
var pages embed.FS

// commandLine describes zoofold without a subcommand, and its subcommands.
type commandLine struct {
	usage
	Subcommands []usage
}

// usage describes a subcommand, or the program without one, whose name is "".
type usage struct {
	Name, Does string
	Operands   []operand
	Flags      []option
}

// Synopsis is how the subcommand is called: "verify [-json] A B".
func (c usage) Synopsis() string {
	text := c.Name
	for _, o := range c.Flags {
		text += " [" + o.String() + "]"
	}
	for _, o := range c.Operands {
		text += " " + o.Name
	}
	return text
}

// operand is an argument that is not a flag: a file, or one of several words.
type operand struct {
	Name    string
	More    bool // there may be several
	Choices []string
}

// Macro is the operand in a manual page's source.
func (o operand) Macro() string {
	name := roff.Replace(strings.TrimSuffix(strings.Trim(o.Name, "[]"), "..."))
	switch {
	case o.More:
		return "Ar " + name + " ..."
	case strings.HasPrefix(o.Name, "["):
		return "Op Ar " + name
	case len(o.Choices) > 0:
		return "Cm " + name
	}
	return "Ar " + name
}

// option is a flag. Its usage text names in backquotes what it takes; with bars, "auto|cpu|cuda", these are all its values,
// and with commas, "parity,algebra|none", a list of some.
type option struct {
	Name, Takes, Text, Default string
	Optional                   bool // a flag that may stand alone, and takes its value after "=" only
	Choices                    []string
}

// List says that a value may be several words with commas between them.
func (o option) List() bool { return strings.Contains(o.Takes, ",") }

// File says that a value is the path of something.
func (o option) File() bool { return o.Takes == "file" || o.Takes == "folder" || o.Takes == "library" }

// String is the flag as help shows it: "-manifest file", "-force[=hash]".
func (o option) String() string {
	switch {
	case o.Takes == "":
		return "-" + o.Name
	case o.Optional:
		return "-" + o.Name + "[=" + o.Takes + "]"
	}
	return "-" + o.Name + " " + o.Takes
}

func optionsOf(set *flag.FlagSet) (list []option) {
	set.VisitAll(func(f *flag.Flag) {
		o := option{Name: f.Name, Default: f.DefValue}
		o.Takes, o.Text = flag.UnquoteUsage(f)
		if b, ok := f.Value.(interface{ IsBoolFlag() bool }); ok {
			o.Optional = b.IsBoolFlag()
		}
		if strings.ContainsAny(o.Takes, "|,") || o.Optional && o.Takes != "" {
			o.Choices = words(o.Takes)
		}
		if len(o.Choices) > 0 {
			o.Text = strings.Replace(o.Text, ": "+o.Takes, "", 1) // the choices are shown before the text
		}
		switch o.Default {
		case "0", "0s", "false":
			o.Default = ""
		}
		list = append(list, o)
	})
	return list
}

// checkChoices is an error if a flag that takes one of several words has another value.
func checkChoices(set *flag.FlagSet) error {
	for _, o := range optionsOf(set) {
		value := set.Lookup(o.Name).Value.String()
		if len(o.Choices) > 0 && !o.List() && !o.Optional && value != "" && !slices.Contains(o.Choices, value) {
			return fmt.Errorf("-%s %q: use %s", o.Name, value, strings.Join(o.Choices, ", "))
		}
	}
	return nil
}

func words(alternatives string) []string {
	return strings.FieldsFunc(alternatives, func(r rune) bool { return r == '|' || r == ',' })
}

// describe builds the description of the command line.
func describe() commandLine {
	set := flag.NewFlagSet("zoofold", flag.ContinueOnError)
	new(flags).declare(set)
	c := commandLine{usage: usage{Flags: optionsOf(set)}}
	for _, s := range subcommands() {
		set := flag.NewFlagSet(s.name, flag.ContinueOnError)
		s.declare(set)
		sub := usage{Name: s.name, Does: s.does, Flags: optionsOf(set)}
		for name := range strings.FieldsSeq(s.operands) {
			o := operand{Name: name, More: strings.HasSuffix(name, "...")}
			switch {
			case strings.Contains(name, "|"):
				o.Choices = words(name)
			case name == "[SUBCOMMAND]":
				for _, s := range subcommands() {
					o.Choices = append(o.Choices, s.name)
				}
			}
			sub.Operands = append(sub.Operands, o)
		}
		c.Subcommands = append(c.Subcommands, sub)
	}
	return c
}

// help writes the text of -help, for the program or one of its subcommands.
func help(name string, w io.Writer) {
	c := describe()
	var err error
	if k := slices.IndexFunc(c.Subcommands, func(s usage) bool { return s.Name == name }); k >= 0 {
		err = templates.ExecuteTemplate(w, "help.subcommand", c.Subcommands[k])
	} else {
		err = templates.ExecuteTemplate(w, "help", c)
	}
	if err != nil {
		fmt.Fprintf(w, "zoofold: %v\n", err)
	}
}

// quoters escape a text for the language of a page.
var quoters = template.FuncMap{
	"join":     strings.Join,
	"fish":     strings.NewReplacer(`\`, `\\`, "'", `\'`).Replace,                                    // within single quotes
	"zsh":      strings.NewReplacer(`\`, `\\`, ":", `\:`, "[", `\[`, "]", `\]`, "'", `'\''`).Replace, // of _arguments, within single quotes
	"roff":     roff.Replace,                                                                         // within a line
	"sentence": sentence,
}

// roff escapes text for roff; a hyphen that may be copied has to be roff's minus sign.
var roff = strings.NewReplacer(`\`, `\e`, "-", `\-`)

// sentence is a usage text as lines of a manual page's source.
func sentence(text, standard string) string {
	if standard != "" {
		text += " (default: " + standard + ")"
	}
	text = strings.ToUpper(text[:1]) + text[1:] + "."
	var lines []string
	for word := range strings.FieldsSeq(roff.Replace(text)) {
		if last := len(lines) - 1; last >= 0 && len(lines[last])+1+len(word) < 80 {
			lines[last] += " " + word
			continue
		}
		if strings.ContainsAny(word[:1], ".'") {
			word = `\&` + word // not a macro
		}
		lines = append(lines, word)
	}
	return strings.Join(lines, "\n")
}

var templates = template.Must(template.New("").Funcs(quoters).ParseFS(pages, "pages/*"))

// page writes one of the pages.
func page(name string, stdout, stderr io.Writer) int {
	if err := templates.ExecuteTemplate(stdout, name, describe()); err != nil {
		fmt.Fprintf(stderr, "zoofold: %v\n", err)
		return exitFailed
	}
	return exitDone
}
