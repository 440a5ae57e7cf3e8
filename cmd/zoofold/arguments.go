package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/zoofold/zoofold/manifests"
	"github.com/zoofold/zoofold/zoo/format"
)

// parseFlags parses a command line whose flags may come before, between and after its operands; everything behind "--" is
// an operand. name is the subcommand's, or "". The error is one line.
func parseFlags(set *flag.FlagSet, name string, args []string) (operands []string, err error) {
	set.SetOutput(io.Discard)
	set.Usage = func() {}
	for {
		if err := set.Parse(args); err != nil {
			return nil, explained(set, name, err)
		}
		rest := set.Args()
		if len(rest) == 0 {
			break
		}
		if k := len(args) - len(rest); k > 0 && args[k-1] == "--" {
			operands = append(operands, rest...)
			break
		}
		operands, args = append(operands, rest[0]), rest[1:]
	}
	return operands, checkChoices(set)
}

// Package flag's messages for a wrong command line.
var (
	unknownFlag  = regexp.MustCompile(`^flag provided but not defined: -+(.*)$`)
	missingValue = regexp.MustCompile(`^flag needs an argument: -+(.*)$`)
	wrongValue   = regexp.MustCompile(`(?s)^invalid (?:boolean )?value (".*") for (?:flag )?-+([^ :]*): (.*)$`)
)

// explained turns an error of package flag into one that says what to do.
func explained(set *flag.FlagSet, name string, err error) error {
	if errors.Is(err, flag.ErrHelp) {
		return err
	}
	text := err.Error()
	if m := unknownFlag.FindStringSubmatch(text); m != nil {
		var known []string
		set.VisitAll(func(f *flag.Flag) { known = append(known, f.Name) })
		return fmt.Errorf("unknown flag -%s%s: zoofold help%s lists the flags", m[1], didYouMean(m[1], "-", known), before(" ", name))
	}
	if m := missingValue.FindStringSubmatch(text); m != nil {
		for _, o := range optionsOf(set) {
			if o.Name == m[1] {
				return fmt.Errorf("-%s has no value: write %s", m[1], o)
			}
		}
	}
	if m := wrongValue.FindStringSubmatch(text); m != nil {
		why := m[3]
		if why == "parse error" {
			why = "it is not what the flag takes"
			for _, o := range optionsOf(set) {
				if o.Name == m[2] && o.Takes != "" {
					why = "write " + o.String()
				}
			}
		}
		return fmt.Errorf("-%s %s: %s", m[2], strings.Trim(m[1], `"`), why)
	}
	return err
}

// before is head followed by text, or "" if text is empty.
func before(head, text string) string {
	if text == "" {
		return ""
	}
	return head + text
}

// didYouMean asks for the word of a list that is nearest to a wrong one, if any is near.
func didYouMean(word, sign string, list []string) string {
	if near := manifests.Nearest(word, list); near != "" {
		return fmt.Sprintf(" (did you mean %s%s?)", sign, near)
	}
	return ""
}

// stray suggests what was meant by an unexpected word.
func stray(word string) string {
	switch info, err := os.Stat(word); {
	case slices.Contains([]string{".yaml", ".yml"}, strings.ToLower(filepath.Ext(word))):
		return fmt.Sprintf("%s: to fold what a manifest names, write: zoofold -manifest %s", word, word)
	case err == nil && info.IsDir():
		return fmt.Sprintf("%s is a folder: zoofold init %s writes a manifest for its models", word, word)
	}
	if _, err := format.Find(word); err == nil {
		return fmt.Sprintf("%s: to fold one model, write: zoofold fold %s -o FOLDER", word, word)
	}
	var names []string
	for _, s := range subcommands() {
		names = append(names, s.name)
	}
	return fmt.Sprintf("unknown subcommand %q%s: zoofold help lists them", word, didYouMean(word, "", names))
}

// duration is a flag's time with its unit.
type duration time.Duration

func (d *duration) String() string { return time.Duration(*d).String() }

// Set reads "90s" or "10m".
func (d *duration) Set(s string) error {
	t, err := time.ParseDuration(s)
	if number := regexp.MustCompile(`^[0-9.]+$`); number.MatchString(s) && s != "0" {
		return fmt.Errorf("needs a unit: %ss, %sm", s, s)
	}
	switch {
	case err != nil:
		return errors.New("write a duration such as 90s or 10m")
	case t <= 0:
		return errors.New("use a duration above 0")
	}
	*d = duration(t)
	return nil
}

// checkOperands is an error if the number or the kinds of operands do not fit their description: "A B", "MODEL..." for one
// or more, "[NAME]" for one or none, "bash|zsh" for one of some words.
func checkOperands(name, wanted string, operands []string) error {
	least, most := 0, 0
	for k, w := range strings.Fields(wanted) {
		switch {
		case strings.HasSuffix(w, "..."):
			least, most = least+1, len(operands)
		case strings.HasPrefix(w, "["):
			most++
		default:
			least, most = least+1, most+1
		}
		if choices := words(w); len(choices) > 1 && k < len(operands) && !slices.Contains(choices, operands[k]) {
			return fmt.Errorf("%q is not one of %s", operands[k], strings.Join(choices, ", "))
		}
	}
	usage := "zoofold " + name + before(" ", wanted)
	switch n := len(operands); {
	case n < least:
		return fmt.Errorf("%s is missing: write %s", strings.Fields(wanted)[n], usage)
	case n > most:
		return fmt.Errorf("unexpected argument %q: write %s", operands[most], usage)
	}
	return nil
}
