"""Columns of the tables of eICU-CRD 2.0, and names that occur in them."""

COLUMNS: dict[str, tuple[str, ...]] = {
    "vitalPeriodic": (
        *("vitalperiodicid", "patientunitstayid", "observationoffset", "temperature", "sao2"),
        *("heartrate", "respiration", "cvp", "etco2", "systemicsystolic", "systemicdiastolic"),
        *("systemicmean", "pasystolic", "padiastolic", "pamean", "st1", "st2", "st3", "icp"),
    ),
    "vitalAperiodic": (
        *("vitalaperiodicid", "patientunitstayid", "observationoffset", "noninvasivesystolic"),
        *("noninvasivediastolic", "noninvasivemean", "paop", "cardiacoutput", "cardiacinput"),
        *("svr", "svri", "pvr", "pvri"),
    ),
    "lab": (
        *("labid", "patientunitstayid", "labresultoffset", "labtypeid", "labname", "labresult"),
        *("labresulttext", "labmeasurenamesystem", "labmeasurenameinterface"),
        "labresultrevisedoffset",
    ),
    "nurseCharting": (
        *("nursingchartid", "patientunitstayid", "nursingchartoffset", "nursingchartentryoffset"),
        *("nursingchartcelltypecat", "nursingchartcelltypevallabel"),
        *("nursingchartcelltypevalname", "nursingchartvalue"),
    ),
    "respiratoryCharting": (
        *("respchartid", "patientunitstayid", "respchartoffset", "respchartentryoffset"),
        *("respcharttypecat", "respchartvaluelabel", "respchartvalue"),
    ),
    "infusionDrug": (
        *("infusiondrugid", "patientunitstayid", "infusionoffset", "drugname", "drugrate"),
        *("infusionrate", "drugamount", "volumeoffluid", "patientweight"),
    ),
    "intakeOutput": (
        *("intakeoutputid", "patientunitstayid", "intakeoutputoffset", "intaketotal"),
        *("outputtotal", "dialysistotal", "nettotal", "intakeoutputentryoffset", "cellpath"),
        *("celllabel", "cellvaluenumeric", "cellvaluetext"),
    ),
    "medication": (
        *("medicationid", "patientunitstayid", "drugorderoffset", "drugstartoffset"),
        *("drugivadmixture", "drugordercancelled", "drugname", "drughiclseqno", "dosage"),
        *("routeadmin", "frequency", "loadingdose", "prn", "drugstopoffset", "gtc"),
    ),
    "admissionDrug": (
        *("admissiondrugid", "patientunitstayid", "drugoffset", "drugenteredoffset"),
        *("drugnotetype", "specialtytype", "usertype", "rxincluded", "writtenineicu", "drugname"),
        *("drugdosage", "drugunit", "drugadmitfrequency", "drughiclseqno"),
    ),
    "treatment": (
        *("treatmentid", "patientunitstayid", "treatmentoffset", "treatmentstring"),
        "activeupondischarge",
    ),
    "diagnosis": (
        *("diagnosisid", "patientunitstayid", "activeupondischarge", "diagnosisoffset"),
        *("diagnosisstring", "icd9code", "diagnosispriority"),
    ),
    "admissionDx": (
        *("admissiondxid", "patientunitstayid", "admitdxenteredoffset", "admitdxpath"),
        *("admitdxname", "admitdxtext"),
    ),
    "pastHistory": (
        *("pasthistoryid", "patientunitstayid", "pasthistoryoffset", "pasthistoryenteredoffset"),
        *("pasthistorynotetype", "pasthistorypath", "pasthistoryvalue", "pasthistoryvaluetext"),
    ),
    "note": (
        *("noteid", "patientunitstayid", "noteoffset", "noteenteredoffset", "notetype"),
        *("notepath", "notevalue", "notetext"),
    ),
    "microLab": (
        *("microlabid", "patientunitstayid", "culturetakenoffset", "culturesite", "organism"),
        *("antibiotic", "sensitivitylevel"),
    ),
    "hospital": ("hospitalid", "numbedscategory", "teachingstatus", "region"),
    "apachePatientResult": (
        *("apachepatientresultsid", "patientunitstayid", "physicianspeciality"),
        *("physicianinterventioncategory", "acutephysiologyscore", "apachescore", "apacheversion"),
        *("predictedhospitalmortality", "actualhospitalmortality"),
    ),
}

# column -> value of a healthy person, what illness adds
PERIODIC = {
    "sao2": (97, -1),
    "heartrate": (85, 12),
    "respiration": (18, 3),
    "cvp": (8, 1),
    "etco2": (36, 0),
    "systemicsystolic": (120, -8),
    "systemicdiastolic": (62, -4),
    "systemicmean": (80, -6),
    "pasystolic": (28, 3),
    "padiastolic": (14, 2),
    "pamean": (19, 2),
}

# name -> labtypeid, unit, value of a healthy person, what illness adds, share of stays with it
LABS: dict[str, tuple[int, str, float, float, float]] = {
    "Hct": (3, "%", 33, -1, 0.95),
    "Hgb": (3, "g/dL", 11, -0.5, 0.95),
    "platelets x 1000": (3, "K/mcL", 200, -30, 0.95),
    "WBC x 1000": (3, "K/mcL", 11, 2, 0.95),
    "-polys": (3, "%", 75, 2, 0.6),
    "sodium": (1, "mmol/L", 139, 0, 0.95),
    "potassium": (1, "mmol/L", 4.1, 0.2, 0.95),
    "creatinine": (1, "mg/dL", 1.3, 0.4, 0.95),
    "BUN": (1, "mg/dL", 24, 6, 0.95),
    "anion gap": (1, "", 11, 2, 0.7),
    "bedside glucose": (4, "mg/dL", 140, 10, 0.6),
    "ALT (SGPT)": (1, "Units/L", 50, 20, 0.5),
    "total bilirubin": (1, "mg/dL", 0.9, 0.3, 0.5),
    "PT - INR": (3, "ratio", 1.3, 0.2, 0.5),
    "PTT": (3, "sec", 35, 4, 0.5),
    "paO2": (7, "mm Hg", 110, -8, 0.5),
    "pH": (7, "", 7.38, -0.03, 0.5),
    "FiO2": (7, "%", 45, 8, 0.4),
    "lactate": (1, "mmol/L", 1.8, 1, 0.5),
    "troponin - I": (4, "ng/mL", 0.6, 0.2, 0.3),
    "CRP": (4, "mg/dL", 5, 2, 0.2),
    "TSH": (4, "mcU/ml", 2, 0, 0.2),
    "urinary sodium": (1, "mmol/L", 60, 0, 0.2),
    "Vancomycin - trough": (2, "mcg/mL", 14, 0, 0.2),
    "Device": (7, "", 1, 0, 0.2),
}

DRUGS = (
    ("2102", "ACETAMINOPHEN 325 MG PO TABS"),
    ("2102", ""),
    ("8255", "PANTOPRAZOLE 40 MG IV SOLR"),
    ("", "NaCl 0.9%   1000 ML"),
    ("", ""),
)

TREATMENTS = (
    "pulmonary|ventilation and oxygenation|mechanical ventilation",
    "cardiovascular|shock|vasopressors|norepinephrine > 0.1 micrograms/kg/min",
    "infectious diseases|medications|therapeutic antibacterials|vancomycin",
)

HISTORY = (
    "notes/Progress Notes/Past History/Organ Systems/Cardiovascular (R)/Hypertension/hypertension",
    "notes/Progress Notes/Past History/Organ Systems/Endocrine (R)/Insulin/insulin dependent",
    "notes/Progress Notes/Past History/Organ Systems/Pulmonary/COPD/COPD  - moderate",
)
