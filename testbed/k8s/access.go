package k8s

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	authv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// Access makes a kubeconfig with which podpath may do what deploy/rbac.yaml
// allows it, except by the rules for one API group or resource ("": by all). name is that of the objects it is made of,
// which undo takes away.
func (c *Cluster) Access(ctx context.Context, name, except string) (file string, undo func(context.Context) error, err error) {
	role, err := podpathRole(c.tree)
	if err != nil {
		return "", nil, err
	}
	role.Rules = slices.DeleteFunc(role.Rules, func(r rbacv1.PolicyRule) bool {
		return except != "" && (slices.Contains(r.APIGroups, except) || slices.Contains(r.Resources, except))
	})
	role.ObjectMeta = metav1.ObjectMeta{Name: name}
	rbac, accounts := c.Client.RbacV1(), c.Client.CoreV1().ServiceAccounts("default")
	if _, err := rbac.ClusterRoles().Create(ctx, role, metav1.CreateOptions{}); err != nil {
		return "", nil, err
	}
	if _, err := accounts.Create(ctx, &corev1.ServiceAccount{ObjectMeta: role.ObjectMeta}, metav1.CreateOptions{}); err != nil {
		return "", nil, err
	}
	_, err = rbac.ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: role.ObjectMeta, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name},
		Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: "default", Name: name}},
	}, metav1.CreateOptions{})
	if err != nil {
		return "", nil, err
	}
	undo = func(ctx context.Context) error {
		return errors.Join(rbac.ClusterRoleBindings().Delete(ctx, name, metav1.DeleteOptions{}),
			accounts.Delete(ctx, name, metav1.DeleteOptions{}), rbac.ClusterRoles().Delete(ctx, name, metav1.DeleteOptions{}))
	}
	token, err := accounts.CreateToken(ctx, name, &authv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		return "", undo, err
	}
	file = c.file(name + ".kubeconfig")
	return file, undo, c.writeKubeconfig(file, apiServer, token.Status.Token)
}

// podpathRole is the role that podpath asks for.
func podpathRole(tree string) (*rbacv1.ClusterRole, error) {
	file := filepath.Join(tree, "deploy", "rbac.yaml")
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	docs := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(b), 4096)
	for {
		var role rbacv1.ClusterRole
		switch err := docs.Decode(&role); {
		case errors.Is(err, io.EOF):
			return nil, fmt.Errorf("no ClusterRole in %s", file)
		case err != nil:
			return nil, fmt.Errorf("read %s: %w", file, err)
		case role.Kind == "ClusterRole":
			return &role, nil
		}
	}
}
