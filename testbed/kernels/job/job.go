// Package job is what a virtual machine is told to run, and what it answers.
package job

// Paths inside the machine.
const (
	ListFile    = "/jobs.json"
	ModulesFile = "/modules.txt" // one file name a line, in the order of loading
)

// Answers is the environment variable that names the device that takes Lines,
// one JSON object each.
const Answers = "ANSWERS"

// Job is one program to run.
type Job struct {
	Name string   `json:"name"`
	Argv []string `json:"argv"`
	Dir  string   `json:"dir"`
	Env  []string `json:"env,omitempty"`
	// Seconds after which the program is killed.
	Seconds int `json:"seconds"`
	// Keep is a folder whose files are answered when the program has ended, "" for
	// none.
	Keep string `json:"keep,omitempty"`
}

// File is one that a program left behind.
type File struct {
	Name string `json:"name"` // below Job.Keep
	Data []byte `json:"data"`
}

// Line is an answer: exactly one member is set.
type Line struct {
	Ready *Ready `json:"ready,omitempty"`
	// Output is what the job under way printed, on either stream.
	Output []byte  `json:"output,omitempty"`
	Result *Result `json:"result,omitempty"`
	// File comes before the Result of its job.
	File *File `json:"file,omitempty"`
	// Failed says why the machine cannot go on.
	Failed string `json:"failed,omitempty"`
	Done   bool   `json:"done,omitempty"`
}

// Ready comes before the first result.
type Ready struct {
	Release string `json:"release"` // uname -r
	Version string `json:"version"` // uname -v
	// Refused are the modules that could not be loaded, with the reason.
	Refused []string `json:"refused,omitempty"`
	Uptime  float64  `json:"uptime_seconds"`
}

// Result is one job's end.
type Result struct {
	Name     string  `json:"name"`
	Exit     int     `json:"exit"` // -1: killed or not started
	TimedOut bool    `json:"timed_out,omitempty"`
	Seconds  float64 `json:"seconds"`
	// Error is why the job could not be run.
	Error string `json:"error,omitempty"`
}
