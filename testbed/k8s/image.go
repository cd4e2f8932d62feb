package k8s

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
)

// The images of the full layout. No registry has them: each is one static
// program, and is imported on every node.
const (
	pauseImage    = "podpath.test/pause:1"
	workloadImage = "podpath.test/workload:1"
	corednsImage  = "podpath.test/coredns:1"
)

// image is a container image that holds one program, in its root.
type image struct{ tag, program, from string }

// writeImages writes an archive as docker save does.
func writeImages(file string, images []image) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer f.Close()
	archive := tar.NewWriter(f)
	var index []map[string]any
	for _, i := range images {
		entry, err := i.write(archive)
		if err != nil {
			return fmt.Errorf("image %s: %w", i.tag, err)
		}
		index = append(index, entry)
	}
	b, err := json.Marshal(index)
	if err != nil {
		return err
	}
	if err := addFile(archive, "manifest.json", 0o644, b); err != nil {
		return err
	}
	if err := archive.Close(); err != nil {
		return err
	}
	return f.Close()
}

// write adds the layer and the configuration, and gives the entry of the index.
func (i image) write(archive *tar.Writer) (map[string]any, error) {
	program, err := os.ReadFile(i.from)
	if err != nil {
		return nil, err
	}
	var layer bytes.Buffer
	sum := sha256.New()
	files := tar.NewWriter(io.MultiWriter(&layer, sum))
	if err := addFile(files, i.program, 0o755, program); err != nil {
		return nil, err
	}
	if err := files.Close(); err != nil {
		return nil, err
	}
	config, err := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH, "os": "linux",
		"config": map[string]any{"Entrypoint": []string{"/" + i.program}, "Env": []string{"PATH=/"}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + hex.EncodeToString(sum.Sum(nil))}},
	})
	if err != nil {
		return nil, err
	}
	if err := addFile(archive, i.program+".tar", 0o644, layer.Bytes()); err != nil {
		return nil, err
	}
	entry := map[string]any{"Config": i.program + ".json", "RepoTags": []string{i.tag}, "Layers": []string{i.program + ".tar"}}
	return entry, addFile(archive, i.program+".json", 0o644, config)
}

func addFile(w *tar.Writer, name string, mode int64, content []byte) error {
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: mode, Size: int64(len(content)), Typeflag: tar.TypeReg}); err != nil {
		return err
	}
	_, err := w.Write(content)
	return err
}
