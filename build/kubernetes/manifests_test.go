// Package kubernetes holds docs/kubernetes against the types of Kubernetes' own API. It is a module of its own, so that
// zoofold does not depend on them: go -C build/kubernetes test .
package kubernetes

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"

	apps "k8s.io/api/apps/v1"
	batch "k8s.io/api/batch/v1"
	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// kinds are the types of the objects that the manifests have.
var kinds = map[string]func() any{
	"v1 Service":               func() any { return &core.Service{} },
	"v1 ConfigMap":             func() any { return &core.ConfigMap{} },
	"v1 PersistentVolumeClaim": func() any { return &core.PersistentVolumeClaim{} },
	"batch/v1 CronJob":         func() any { return &batch.CronJob{} },
	"apps/v1 Deployment":       func() any { return &apps.Deployment{} },
	"apps/v1 StatefulSet":      func() any { return &apps.StatefulSet{} },
}

func TestManifestsAreOfTheTypesThatTheySay(t *testing.T) {
	var paths []string
	for _, pattern := range []string{"*.yaml", "*/*.yaml"} {
		more, err := filepath.Glob("../../docs/kubernetes/" + pattern)
		if err != nil || len(more) == 0 {
			t.Fatal(more, err)
		}
		paths = append(paths, more...)
	}
	gpus := 0
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for k, document := range bytes.Split(text, []byte("\n---\n")) {
			var of meta.TypeMeta
			if err := yaml.Unmarshal(document, &of); err != nil {
				t.Fatalf("%s, object %d: %v", path, k+1, err)
			}
			make := kinds[of.APIVersion+" "+of.Kind]
			if make == nil {
				t.Errorf("%s, object %d: %s %s is not known", path, k+1, of.APIVersion, of.Kind)
				continue
			}
			object := make()
			if err := yaml.UnmarshalStrict(document, object); err != nil {
				t.Errorf("%s, %s: %v", path, of.Kind, err)
			}
			switch o := object.(type) {
			case *apps.Deployment:
				gpus += pod(t, o.Name, o.Spec.Selector, o.Spec.Template)
			case *apps.StatefulSet:
				pod(t, o.Name, o.Spec.Selector, o.Spec.Template)
			case *batch.CronJob:
				pod(t, o.Name, nil, o.Spec.JobTemplate.Spec.Template)
				if p := o.Spec.JobTemplate.Spec.Template.Spec.RestartPolicy; p != core.RestartPolicyNever {
					t.Errorf("a failure policy needs restartPolicy Never, not %q", p)
				}
			}
		}
	}
	if gpus != 1 {
		t.Errorf("%d containers ask for a GPU", gpus)
	}
}

// pod holds what the types do not say: selectors match, volumes that are mounted are there. It counts the GPUs.
func pod(t *testing.T, name string, selector *meta.LabelSelector, template core.PodTemplateSpec) (gpus int) {
	t.Helper()
	if selector != nil {
		s, err := meta.LabelSelectorAsSelector(selector)
		if err != nil || s.Empty() || !s.Matches(labels(template.Labels)) {
			t.Errorf("%s: its selector does not match its pods: %v", name, err)
		}
	}
	var volumes []string
	for _, v := range template.Spec.Volumes {
		volumes = append(volumes, v.Name)
	}
	for _, c := range template.Spec.Containers {
		for _, m := range c.VolumeMounts {
			if !slices.Contains(volumes, m.Name) && name != "nats" { // whose claims have templates
				t.Errorf("%s: no volume %s", name, m.Name)
			}
		}
		if q, asks := c.Resources.Limits["nvidia.com/gpu"]; asks {
			gpus += int(q.Value())
		}
		if c.Resources.Limits.Memory().IsZero() || c.Resources.Requests.Memory().IsZero() {
			t.Errorf("%s: its memory is not bounded", name)
		}
	}
	return gpus
}

// labels are a set as selectors want it.
type labels map[string]string

func (l labels) Has(key string) bool              { _, has := l[key]; return has }
func (l labels) Get(key string) string            { return l[key] }
func (l labels) Lookup(key string) (string, bool) { v, has := l[key]; return v, has }
