package render

// Fault is one entry of the demo's list.
type Fault struct {
	TypeMeta
	Name        string `json:"name"`
	Title       string `json:"title"`
	Description string `json:"description"`
	Component   string `json:"component"`
	Code        string `json:"code"`
	Healthy     bool   `json:"healthy"`
	IPv4Only    bool   `json:"ipv4_only"`
}

// NewFault sets the type of an object.
func NewFault(f Fault) *Fault {
	f.TypeMeta = meta("Fault")
	return &f
}

func (p *textPrinter) fault(f *Fault) {
	p.row([]column{{f.Name, 24}, {f.Component, 12}, {f.Code, 26}}, f.Title)
}
