//! A peer: nginx with nchan, where the machine has it. It is never installed from here.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::Result;
use eventcast_tests::process::{self, Process};

/// What is said where it is missing.
pub(crate) const MISSING: &str =
    "nchan is not installed here (nginx with libnginx-mod-nchan): its rows are left out.";

/// nginx and the module, if both are there.
pub(crate) fn installed() -> Option<(PathBuf, PathBuf)> {
    let nginx = process::find_on_path("nginx").or_else(|| {
        let beside = PathBuf::from("/usr/sbin/nginx"); // not on the path of every user
        beside.is_file().then_some(beside)
    })?;
    let folders = ["/usr/lib/nginx/modules", "/usr/lib64/nginx/modules", "/etc/nginx/modules"];
    let module = folders.iter().map(|folder| Path::new(folder).join("ngx_nchan_module.so"));
    Some((nginx, module.into_iter().find(|module| module.is_file())?))
}

/// One worker, which is the whole server, with everything in `folder`.
pub(super) fn spawn(address: SocketAddr, folder: &Path) -> Result<Process> {
    let (nginx, module) = installed().ok_or_else(|| anyhow::anyhow!(MISSING))?;
    let at = folder.display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|kind| format!("{kind}_temp_path {at}/{kind};\n"))
        .collect();
    let config = format!(
        "load_module {};\ndaemon off;\nmaster_process off;\npid {at}/nginx.pid;\nerror_log {at}/error.log warn;\n\
         worker_rlimit_nofile 65536;\nevents {{ worker_connections 20000; }}\n\
         http {{\naccess_log off;\nkeepalive_requests 1000000000;\ntcp_nodelay on;\n{temporary}\
         nchan_max_reserved_memory 256M;\nserver {{\nlisten {address} backlog=4096;\n\
         location = /publish {{ nchan_publisher; nchan_channel_id demo; nchan_message_buffer_length 1000; }}\n\
         location = /subscribe {{ nchan_subscriber eventsource; nchan_channel_id demo; nchan_subscriber_first_message newest; }}\n}}\n}}\n",
        module.display()
    );
    let file = folder.join("nginx.conf");
    fs::write(&file, config)?;
    let arguments = [Path::new("-p"), folder, Path::new("-c"), &file];
    Process::spawn("nchan", &nginx, &arguments, folder)
}
