package kube

import (
	"errors"
	"regexp"
	"slices"
	"strings"
)

// calicoExpr is a selector expression of Calico, as its API describes it
// (projectcalico.org/v3, NetworkPolicySpec.Selector):
//
//	role == "db" && !(env in {"dev", "test"}) || has(public)
type calicoExpr struct {
	// op is "&&", "||" or "!" of parts; "has", "==", "!=", "in", "notin",
	// "contains", "startswith" or "endswith" of key and values; "all", "global";
	// or "" for what cannot be read.
	op     string
	parts  []calicoExpr
	key    string
	values []string
}

// lookup finds a label. A label may be undecided: podpath does not read it.
type lookup func(key string) (value string, has Answer)

func (e *calicoExpr) match(label lookup) Answer {
	switch e.op {
	case "":
		return Undecided
	case "all":
		return Yes
	case "global": // what is in no namespace; a pod is in one
		return No
	case "!":
		return e.parts[0].match(label).not()
	case "&&", "||":
		out := e.parts[0].match(label)
		for i := range e.parts[1:] {
			if e.op == "&&" {
				out = both(out, e.parts[i+1].match(label))
			} else {
				out = either(out, e.parts[i+1].match(label))
			}
		}
		return out
	}
	have, has := label(e.key)
	if has == Undecided || e.op == "has" {
		return has
	}
	return answer(e.compare(have, has == Yes))
}

// compare: what excludes holds for a missing label too.
func (e *calicoExpr) compare(have string, has bool) bool {
	switch e.op {
	case "!=", "notin":
		return !has || !slices.Contains(e.values, have)
	case "contains":
		return has && strings.Contains(have, e.values[0])
	case "startswith":
		return has && strings.HasPrefix(have, e.values[0])
	case "endswith":
		return has && strings.HasSuffix(have, e.values[0])
	}
	return has && slices.Contains(e.values, have) // ==, in
}

// parseCalico reads an expression; an empty one matches everything, and one that
// cannot be read is undecided for every pod.
func parseCalico(text string) calicoExpr {
	p := calicoParser{rest: text}
	p.skip()
	if p.rest == "" {
		return calicoExpr{op: "all"}
	}
	e, err := p.or()
	if err != nil || p.rest != "" {
		return calicoExpr{}
	}
	return e
}

type calicoParser struct {
	rest  string
	depth int
}

// calicoDepth bounds how far parentheses may be nested.
const calicoDepth = 100

var errCalico = errors.New("not a selector of Calico")

const calicoKey = `[a-zA-Z0-9_./-]{1,512}`

var (
	calicoLabel = regexp.MustCompile(`^(` + calicoKey + `)`)
	calicoHas   = regexp.MustCompile(`^has\(\s*(` + calicoKey + `)\s*\)`)
	calicoPlain = regexp.MustCompile(`^(all|global)\(\s*\)`)
	calicoVerb  = regexp.MustCompile(`^(==|!=|contains|starts\s*with|ends\s*with|not\s*in\b|in\b)`)
)

func (p *calicoParser) skip() { p.rest = strings.TrimLeft(p.rest, " \t") }

// take consumes a text if it comes next.
func (p *calicoParser) take(text string) bool {
	rest, ok := strings.CutPrefix(p.rest, text)
	if ok {
		p.rest = rest
		p.skip()
	}
	return ok
}

// find consumes a pattern if it comes next, and returns its group.
func (p *calicoParser) find(re *regexp.Regexp) (string, bool) {
	m := re.FindStringSubmatch(p.rest)
	if m == nil {
		return "", false
	}
	p.rest = p.rest[len(m[0]):]
	p.skip()
	return m[1], true
}

func (p *calicoParser) or() (calicoExpr, error) { return p.chain("||", p.and) }

func (p *calicoParser) and() (calicoExpr, error) { return p.chain("&&", p.operand) }

func (p *calicoParser) chain(op string, part func() (calicoExpr, error)) (calicoExpr, error) {
	first, err := part()
	if err != nil || !strings.HasPrefix(p.rest, op) {
		return first, err
	}
	out := calicoExpr{op: op, parts: []calicoExpr{first}}
	for p.take(op) {
		next, err := part()
		if err != nil {
			return out, err
		}
		out.parts = append(out.parts, next)
	}
	return out, nil
}

func (p *calicoParser) operand() (calicoExpr, error) {
	negated := false
	for p.take("!") {
		negated = !negated
	}
	e, err := p.positive()
	if negated {
		e = calicoExpr{op: "!", parts: []calicoExpr{e}}
	}
	return e, err
}

func (p *calicoParser) positive() (calicoExpr, error) {
	if p.take("(") {
		return p.parentheses()
	}
	if key, ok := p.find(calicoHas); ok {
		return calicoExpr{op: "has", key: key}, nil
	}
	if op, ok := p.find(calicoPlain); ok {
		return calicoExpr{op: op}, nil
	}
	key, isLabel := p.find(calicoLabel)
	verb, isVerb := p.find(calicoVerb)
	if !isLabel || !isVerb {
		return calicoExpr{}, errCalico
	}
	e := calicoExpr{op: strings.Join(strings.Fields(verb), ""), key: key}
	var err error
	if e.op == "in" || e.op == "notin" {
		e.values, err = p.set()
		return e, err
	}
	v, err := p.quoted()
	e.values = []string{v}
	return e, err
}

func (p *calicoParser) parentheses() (calicoExpr, error) {
	if p.depth++; p.depth > calicoDepth {
		return calicoExpr{}, errCalico
	}
	e, err := p.or()
	p.depth--
	if err == nil && !p.take(")") {
		err = errCalico
	}
	return e, err
}

// quoted reads a string; there are no escapes.
func (p *calicoParser) quoted() (string, error) {
	for _, q := range []string{`"`, "'"} {
		rest, ok := strings.CutPrefix(p.rest, q)
		if !ok {
			continue
		}
		text, after, ok := strings.Cut(rest, q)
		if !ok {
			return "", errCalico
		}
		p.rest = after
		p.skip()
		return text, nil
	}
	return "", errCalico
}

func (p *calicoParser) set() ([]string, error) {
	if !p.take("{") {
		return nil, errCalico
	}
	var out []string
	for !p.take("}") {
		v, err := p.quoted()
		if err != nil {
			return nil, err
		}
		out = append(out, v)
		if !p.take(",") && !strings.HasPrefix(p.rest, "}") {
			return nil, errCalico
		}
	}
	return out, nil
}
