"""Runs what a manifest for Kubernetes says as pods would: each in a network of its own with the name of its machine, as a user
without rights, with the arguments, the variables and the files that the manifest gives it. Then it kills, deletes and cuts off pods,
and looks at what the job has put out.

    unshare --net --mount python3 pods.py PROGRAM MANIFEST

It needs the rights of root, those of a user namespace will do. PYTHONPATH has PyYAML. It prints what it does; 0: all was right.
"""

import json, os, signal, subprocess, sys, time
from pathlib import Path

import yaml

program, manifest = sys.argv[1:]
WITHIN_S = 180
# Whether there is another user to be than root.
RIGHTS = Path("/proc/self/uid_map").read_text().split()[2] == "4294967295"
USER = 65532


def run(*command, check=True):
    return subprocess.run(command, check=check, capture_output=True, text=True)


def until(what, happens):
    """Waits for something that must happen."""
    begin = time.monotonic()
    end = begin + WITHIN_S
    while not (seen := happens()):
        if time.monotonic() > end:
            raise SystemExit(f"pods: {what}: not within {WITHIN_S} s\n" + "\n".join(pod.told() for pod in pods))
        time.sleep(0.1)
    print(f"pods: {what}: {time.monotonic() - begin:.1f} s", flush=True)
    return seen


def things(kind):
    return [thing for thing in documents if thing["kind"] == kind]


documents = list(yaml.safe_load_all(Path(manifest).read_text()))
[config], [service], [replicas] = things("ConfigMap"), things("Service"), things("StatefulSet")
name, spec = replicas["metadata"]["name"], replicas["spec"]["template"]["spec"]
[container] = spec["containers"]
assert replicas["spec"]["serviceName"] == service["metadata"]["name"] and service["spec"]["publishNotReadyAddresses"]
assert replicas["spec"]["podManagementPolicy"] == "Parallel"
port = container["ports"][0]["containerPort"]
assert port == service["spec"]["ports"][0]["port"] and f"--listen=0.0.0.0:{port}" in container["args"]
count = replicas["spec"]["replicas"]
hosts = config["data"]["hosts"].split()
assert hosts == [f"{name}-{number}.{service['metadata']['name']}:{port}" for number in range(count)], hosts

# All that follows is gone with the mount namespace.
run("mount", "--make-rprivate", "/")
binary = Path(program).resolve()
run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/mnt")
for folder in ["bin", "etc", "etc-work", "shared", "pods"]:
    Path("/mnt", folder).mkdir()
Path("/mnt/bin/millstream").touch()
run("mount", "--bind", str(binary), "/mnt/bin/millstream")
run("mount", "-t", "overlay", "overlay", "-o", "lowerdir=/etc,upperdir=/mnt/etc,workdir=/mnt/etc-work", "/etc")
for folder in ["/run", "/home"]:
    run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", folder)
for mount in container["volumeMounts"]:
    Path(mount["mountPath"]).mkdir(parents=True, exist_ok=True)
where = {mount["name"]: Path(mount["mountPath"]) for mount in container["volumeMounts"]}
volumes = {volume["name"]: volume for volume in spec["volumes"]}
for volume, place in where.items():
    if "configMap" in volumes[volume]:
        for file, text in config["data"].items():
            (place / file).write_text(text)
    elif "secret" in volumes[volume]:
        key = place / "cluster.key"
        key.write_text("0123456789abcdef" * 4 + "\n")
        if RIGHTS:
            os.chown(key, 0, spec["securityContext"]["fsGroup"])
        key.chmod(volumes[volume]["secret"]["defaultMode"] if RIGHTS else 0o600)
assert USER == spec["securityContext"]["runAsUser"] == spec["securityContext"]["fsGroup"]
addresses = [f"10.77.0.{10 + number}" for number in range(count)]
Path("/etc/hosts").write_text(
    "127.0.0.1 localhost\n"
    + "".join(f"{address} {host.split(':')[0]}\n" for address, host in zip(addresses, hosts))
)
if RIGHTS:
    os.chown("/mnt/shared", USER, USER)
run("ip", "link", "add", "cluster", "type", "bridge")
run("ip", "link", "set", "cluster", "up")


class Pod:
    def __init__(self, number):
        self.number, self.process, self.ends, self.log = number, None, [], Path(f"/mnt/pods/{number}.log")
        inside = f"pod-{number}"
        run("ip", "netns", "add", inside)
        run("ip", "link", "add", inside, "type", "veth", "peer", "name", "eth0", "netns", inside)
        run("ip", "link", "set", inside, "master", "cluster", "up")
        for words in [["addr", "add", f"{addresses[number]}/24", "dev", "eth0"], ["link", "set", "eth0", "up"]]:
            run("ip", "-n", inside, *words)
        run("ip", "-n", inside, "link", "set", "lo", "up")
        self.folders = {}
        for volume, place in where.items():
            if "emptyDir" in volumes[volume]:
                folder = Path(f"/mnt/pods/{number}/{volume}")
                folder.mkdir(parents=True)
                folder.chmod(0o777)
                self.folders[place] = folder

    def command(self, *words):
        """A command as the container would run it."""
        mounts = [f"mount --bind {folder} {place}" for place, folder in self.folders.items()]
        user = f"setpriv --reuid {USER} --regid {USER} --clear-groups --no-new-privs" if RIGHTS else ""
        start = [f"hostname {name}-{self.number}", *mounts, f'exec {user} env -i "$@"']
        given = {variable["name"]: variable["value"] for variable in container["env"]}
        variables = [f"{key}={value}" for key, value in {**given, "PATH": "/mnt/bin"}.items()]
        within = ["ip", "netns", "exec", f"pod-{self.number}", "unshare", "--uts", "--mount", "sh", "-ec", " && ".join(start), "sh"]
        return [*within, *variables, *words]

    def start(self):
        # In the place of a bucket, a folder that all see.
        instead = ["--set", "checkpoint.dir=/mnt/shared/checkpoint", "--set", "sinks.kept.path=/mnt/shared/totals"]
        with self.log.open("ab") as log:
            words = self.command("millstream", *container["args"], *instead)
            self.process = subprocess.Popen(words, stdout=log, stderr=log, start_new_session=True)

    def look(self):
        """What the kubelet does: a container that has ended is started again."""
        if self.process.poll() is not None:
            self.ends.append(self.process.returncode)
            self.start()

    def ready(self):
        return run(*self.command(*container["readinessProbe"]["exec"]["command"]), check=False).returncode == 0

    def signal(self, number):
        """To its first process, as it was exec'ed by all that made its namespaces."""
        os.kill(self.process.pid, number)

    def kill(self):
        """All of it at once, as when its machine is gone."""
        os.killpg(self.process.pid, signal.SIGKILL)

    def told(self):
        return f"--- pod {self.number}, ended with {self.ends}\n" + self.log.read_text()[-4000:]


def losses():
    """How often pods have noticed that another is gone, of those that were not cut off."""
    return [pod.log.read_text().count("another process of the job is lost") for pod in pods[1:]]


def rows():
    """What readers see: rows of all batches."""
    files = sorted(Path("/mnt/shared/totals").glob("*.json*")) if Path("/mnt/shared/totals").exists() else []
    return [json.loads(line) for file in files if not file.name.startswith((".", "_")) for line in file.read_text().splitlines()]


def goes_on(what):
    before = len(rows())

    def further():
        for pod in pods:
            pod.look()
        return len(rows()) > before + 500

    until(what, further)


pods = [Pod(number) for number in range(count)]
for pod in pods:
    pod.start()
goes_on("rows come")
for pod in pods:
    until(f"pod {pod.number} is ready", pod.ready)
pods[1].kill()
goes_on("rows come after a pod was killed")
pods[2].signal(signal.SIGTERM)
until("a pod that is deleted ends", lambda: pods[2].process.poll() is not None)
assert pods[2].process.returncode == 0, pods[2].told()
goes_on("rows come after a pod was deleted")
before = losses()
run("ip", "link", "set", "pod-0", "down")
until("the others notice that a pod is cut off", lambda: all(now > then for now, then in zip(losses(), before)))
run("ip", "link", "set", "pod-0", "up")
goes_on("rows come after a pod was cut off")
for pod in pods:
    pod.signal(signal.SIGTERM)
until("all end", lambda: all(pod.process.poll() is not None for pod in pods))
assert [pod.process.returncode for pod in pods] == [0] * count, "\n".join(pod.told() for pod in pods)

seen = rows()
for row in seen:
    # Numbers are made one after the other, so how often a customer came follows from the last one.
    assert row["last"] % 100 == row["customer"] and row["orders"] == row["last"] // 100 + 1, row
assert len({(row["customer"], row["last"]) for row in seen}) == len(seen), "a batch came twice"
print(f"pods: {len(seen)} rows are right")
