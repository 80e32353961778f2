# Written by `grader course`. Change what you like: it is not written again once you did.
c = get_config()

c.CourseDirectory.course_id = 'course'

# Stubs in the released notebooks read as they do in the repository.
c.ClearSolutions.code_stub = {"python": "raise NotImplementedError  # TODO: your code"}

# Submissions are graded in the engine of dl-kata, not by running their cells. docs/classroom.md says more.
c.Autograde.exporter_class = "grader.classroom.preprocessor.ReadAnything"
c.Autograde.sanitize_preprocessors = ["grader.classroom.preprocessor.SanitizeOthers"]
c.Autograde.autograde_preprocessors = [
    "grader.classroom.preprocessor.GradeParts",
    "nbgrader.preprocessors.IgnorePattern",
    "nbconvert.preprocessors.ClearMetadataPreprocessor",
    "nbgrader.preprocessors.LimitOutput",
    "grader.classroom.preprocessor.SaveAtOnce",
    "nbgrader.preprocessors.AssignLatePenalties",
    "grader.classroom.preprocessor.CheckOthers",
]
c.GradeParts.house = '/tmp/old/house'
c.GradeParts.require = "process"  # "full" refuses to grade where the machine isolates less: see SECURITY.md
