package main

// arch is a processor, by the name that Go and Debian have for it.
type arch string

const (
	amd64 arch = "amd64"
	arm64 arch = "arm64"
)

// emulator is the program that is the machine, with what makes it one of this
// architecture. The first serial line is for the kernel's messages, into a file;
// the second, standard output, for the guest's answers.
func (a arch) emulator(messages string) []string {
	if a == arm64 {
		return []string{
			"qemu-system-aarch64", "-machine", "virt", "-cpu", "max,pauth-impdef=on", "-serial", "file:" + messages,
			"-chardev", "stdio,id=answers", "-device", "pci-serial,chardev=answers",
		}
	}
	return []string{"qemu-system-x86_64", "-cpu", "max", "-serial", "file:" + messages, "-serial", "stdio"}
}

// lines are what the kernel calls the two.
func (a arch) lines() (messages, answers string) {
	if a == arm64 {
		return "ttyAMA0", "ttyS0"
	}
	return "ttyS0", "ttyS1"
}
