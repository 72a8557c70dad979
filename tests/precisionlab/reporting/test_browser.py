"""The page as a browser shows it: what a reader can do, at the width of a phone and of a desk."""

import html
import json
import re
import shutil
import subprocess

import pandas as pd
import pytest

from precisionlab.reporting import Figure, Table, write_page, write_report
from precisionlab.reporting.summary import format_mse, summarise

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
QUIET = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-logging=stderr",
    "--virtual-time-budget=4000",
    "--dump-dom",
]

# A page around the page, which gives it a width, does what a reader would do, and writes down what that showed.
AROUND = """<!DOCTYPE html><html><body><iframe id="page" style="border: 0; width: %(width)dpx; height: 900px"></iframe>
<pre id="seen"></pre><script>
const frame = document.getElementById("page");
frame.onload = () => {
  const page = frame.contentDocument;
  const view = frame.contentWindow;
  const find = (id) => page.getElementById(id);
  const legend = () => [...find("legend").children].map((item) => item.innerText.split(/\\s*\\n+\\s*/));
  const curves = () => page.querySelectorAll("#chart .curve").length;
  const seen = {
    overflow: page.documentElement.scrollWidth - %(width)d,
    hidden: find("static").hidden,
    atRest: legend(),
    curves: curves(),
    ends: page.querySelectorAll("#chart .end").length,
  };
  find("step").value = "10";
  find("step").dispatchEvent(new view.Event("input"));
  seen.atTen = legend();
  seen.spoken = find("step").getAttribute("aria-valuetext");
  const box = find("chart").getBoundingClientRect();
  find("chart").dispatchEvent(new view.PointerEvent("pointermove", { clientX: box.left, bubbles: true }));
  seen.atLeft = find("reading").textContent;
  find("legend").children[0].firstElementChild.click();
  seen.curvesLess = curves();
  find("dtypes").children[1].click();
  seen.single = legend();
  const ground = () => view.getComputedStyle(page.body).backgroundColor;
  const grounds = [ground()];
  find("theme").click();
  grounds.push(ground());
  find("theme").click();
  grounds.push(ground());
  seen.grounds = grounds;
  document.getElementById("seen").textContent = JSON.stringify(seen);
};
frame.srcdoc = %(page)s;
</script></body></html>"""


def look(chromium, folder, page, width, around=AROUND):
    file = folder / "around.html"
    file.write_text(around % {"width": width, "page": json.dumps(page).replace("</", "<\\/")})
    command = [chromium, *QUIET, f"--user-data-dir={folder / 'profile'}", "--window-size=1400,1000", file.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    found = re.search(r'<pre id="seen">(.+?)</pre>', done.stdout, re.DOTALL)
    assert found, f"the page's script did not finish: {console or done.stderr[-500:]}"
    return json.loads(html.unescape(found[1])), console


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
@pytest.mark.parametrize("width", [360, 1280])
def test_a_reader_can_choose_and_read_values_off(made, tmp_path, width):
    typical = made.typical()
    curves = type(typical)(frame=typical.frame.replace(typical.last_iterates()["mse_median"][4], 0.0144996))
    page = write_report(tmp_path / "report", curves, made.meta()).page.read_text()
    seen, console = look(CHROMIUM, tmp_path, page, width)
    assert console == []
    assert seen["overflow"] <= 0
    assert seen["hidden"]
    assert [item[0] for item in seen["atRest"]] == curves.solvers
    last = summarise(curves, "gradient-descent").query("dtype == 'float64'")["floor"]
    assert [item[1] for item in seen["atRest"]] == [format_mse(floor) for floor in last]
    assert (seen["curves"], seen["curvesLess"]) == (5, 4)
    assert seen["ends"] == (0 if width < 640 else 5)
    at_ten = curves.curve(made.learned, "float64")["mse_median"][10]
    assert seen["atTen"][0][1] == format_mse(at_ten)
    assert seen["spoken"].startswith(f"iteration 10: {made.learned} ")
    assert seen["atLeft"] == "at iteration 0 of 200"
    assert seen["single"][2][1:] == ["not run in float32"]
    first, second, third = seen["grounds"]
    assert first == third != second


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_hostile_names_do_nothing_in_a_browser(made, tmp_path):
    name = "</script><img src=x onerror=\"console.log('ran')\"><script>console.log('ran')</script>"
    hostile = made.curves(made.iterated(name), made.direct("qr", dtype="float32"))
    page = write_report(tmp_path / "report", hostile, made.meta(title=name, notes=(name,))).page.read_text()
    seen, console = look(CHROMIUM, tmp_path, page, 800)
    assert console == []
    assert seen["atRest"][0][0] == name


AROUND_A_PAGE = """<!DOCTYPE html><html><body><iframe id="page" style="border: 0; width: %(width)dpx; height: 900px">
</iframe><pre id="seen"></pre><script>
const frame = document.getElementById("page");
frame.onload = () => {
  const page = frame.contentDocument;
  const view = frame.contentWindow;
  const figure = page.querySelector("[data-figure]");
  const within = (selector) => [...figure.querySelectorAll(selector)];
  const legend = () => within(".legend li").map((item) => item.innerText.split(/\\s*\\n+\\s*/));
  const seen = {
    overflow: page.documentElement.scrollWidth - %(width)d,
    hidden: figure.querySelector(".static").hidden,
    curves: within(".chart .curve").length,
    ends: within(".chart .end").length,
    atRest: legend(),
  };
  const slider = figure.querySelector("input");
  slider.value = "1";
  slider.dispatchEvent(new view.Event("input"));
  seen.atSecond = legend();
  seen.reading = figure.querySelector(".read-off").textContent;
  within(".legend button")[0].click();
  seen.curvesLess = within(".chart .curve").length;
  within(".switch button")[1].click();
  seen.single = legend();
  const ground = () => view.getComputedStyle(page.body).backgroundColor;
  const grounds = [ground()];
  page.getElementById("theme").click();
  grounds.push(ground());
  page.getElementById("theme").click();
  seen.grounds = [...grounds, ground()];
  document.getElementById("seen").textContent = JSON.stringify(seen);
};
frame.srcdoc = %(page)s;
</script></body></html>"""


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
@pytest.mark.parametrize("width", [360, 1280])
def test_a_reader_can_choose_and_read_values_off_a_page_of_figures(tmp_path, width):
    name = "</script><img src=x onerror=\"console.log('ran')\">"
    rows = [(layers, model, 10.0**-layers / 3) for model in (name, "b") for layers in (1, 2, 8)]
    frame = pd.DataFrame(rows, columns=["layers", "model", "mse"])
    frame = pd.concat([frame.assign(dtype="float64"), frame[frame["model"] == "b"].assign(dtype="float32")])
    figure = Figure(
        name="depth", frame=frame, x="layers", y="mse", series="model", panel="dtype", title=name, y_label="MSE"
    )
    page = write_page(
        tmp_path / "page",
        title=name,
        sections=[figure, Table(name="numbers", frame=frame, title=name)],
        spread="one seed",
        config={name: name},
        environment={"python": "3.11"},
        command="python",
    )
    seen, console = look(CHROMIUM, tmp_path, page.page.read_text(), width, around=AROUND_A_PAGE)
    assert console == []
    assert seen["overflow"] <= 0
    assert seen["hidden"]
    assert [item[:2] for item in seen["atRest"]] == [[name, "3.3e-9"], ["b", "3.3e-9"]]
    assert (seen["curves"], seen["curvesLess"], seen["ends"]) == (2, 1, 0 if width < 640 else 2)
    assert seen["atSecond"][1][:2] == ["b", "3.3e-3"]
    assert seen["reading"] == "layers: 2"
    assert seen["single"][0][1:] == ["not in this panel"]
    first, second, third = seen["grounds"]
    assert first == third != second
