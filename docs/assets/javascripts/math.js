// Typesets what pymdownx.arithmatex marked as formulas, \(inline\) and \[displayed\].
document$.subscribe(() => {
  for (const element of document.querySelectorAll(".arithmatex")) {
    const tex = element.textContent.trim();
    if (!/^\\[([]/.test(tex)) continue; // typeset before
    // KaTeX has no blackboard digits: the indicator function is bold instead.
    const known = tex.slice(2, -2).replace(/\\mathbb\s*\{?1\}?/g, "\\mathbf{1}");
    katex.render(known, element, {
      displayMode: tex.startsWith("\\["),
      throwOnError: false,
    });
  }
});
