package probe

import "testing"

func TestReasonName(t *testing.T) {
	r := reasons{2: "NOT_SPECIFIED", 12: "NETFILTER_DROP"}
	for reason, want := range map[uint32]string{
		12: "NETFILTER_DROP", 99: "REASON_99", 2<<16 | 5: "SUBSYS_2:5",
	} {
		if got := r.name(reason); got != want {
			t.Errorf("%#x: got %q, want %q", reason, got, want)
		}
	}
	if got := reasons(nil).name(12); got != "" {
		t.Errorf("kernel without reasons: got %q", got)
	}
}

func TestSharedHook(t *testing.T) {
	for _, tc := range []struct {
		kernel reasons
		want   bool
	}{
		{nil, true},
		{reasons{7: "NETFILTER_DROP"}, true},
		{reasons{12: "NETFILTER_DROP", 99: "TC_COOKIE_ERROR"}, false},
	} {
		if got := tc.kernel.sharedHook(); got != tc.want {
			t.Errorf("%v: %v, want %v", tc.kernel, got, tc.want)
		}
	}
}
